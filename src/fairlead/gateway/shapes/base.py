"""What the gateway asks of an API shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens by the answer's own figures; None where it gives none."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def total(self) -> int | None:
        """The sum, or None where the answer gives no figure."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


class Shape(Protocol):
    """One API's own form of errors, stream ends and usage figures."""

    name: str
    family: str
    """`openai` or `anthropic`: which upstreams speak it."""

    def error_status(self, status: int) -> int:
        """The status this API uses for what we mean by `status`."""
        ...

    def error_body(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        """A JSON error body as this API's own."""
        ...

    def stream_error(self, message: str, code: str, sent: bytes) -> bytes:
        """An event that ends a broken stream; `sent` is the last part of what went out before."""
        ...

    def is_complete(self, body: bytes, *, stream: bool) -> bool:
        """Whether a 200 answer is whole, successful and worth keeping."""
        ...

    def usage(self, body: bytes, *, stream: bool) -> Usage:
        """Usage figures found in (a part of) the answer."""
        ...


def events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (event type, data) pairs of server-sent events (WHATWG HTML section 9.2).

    `body` may begin or end within an event: such pieces come out as they are. Data lines are
    joined with newlines; comments and other fields are skipped.
    """
    kind = b""
    data: list[bytes] = []
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            if kind or data:
                yield kind, b"\n".join(data)
            kind, data = b"", []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            kind = line[6:].strip()
    if kind or data:
        yield kind, b"\n".join(data)


def last_event(body: bytes) -> tuple[bytes, bytes]:
    """The last event's (type, data); both empty where there is none."""
    tail = body.replace(b"\r\n", b"\n").rstrip(b"\n").rsplit(b"\n\n", 1)[-1]
    last = (b"", b"")
    for event in events(tail):
        last = event
    return last


def ends_events(sent: bytes) -> bool:
    """Whether `sent`, the end of a stream so far, ends with a whole event (or is empty)."""
    return not sent or sent.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))


def tokens(value: object) -> int | None:
    """`value` if it is a sane token count, else None: upstreams send what they like."""
    return value if type(value) is int and 0 <= value < 1 << 40 else None

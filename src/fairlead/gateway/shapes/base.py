"""What the gateway asks of an API shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

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


class Reading(msgspec.Struct, frozen=True):
    """What an answer's body says of itself."""

    complete: bool
    """It is whole and successful, by the API's own end and without an error."""
    usage: Usage


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

    def read(self, body: bytes, *, stream: bool) -> Reading:
        """Read an answer; of a part of one (its beginning and end) the usage figures only."""
        ...


class Answer(msgspec.Struct):
    """The fields of an answer, or of an event of it, that tell how it went; types are open."""

    object: Any = None
    type: Any = None
    error: Any = None
    status: Any = None
    usage: Any = None
    response: Any = None
    message: Any = None


_decode_answer = msgspec.json.Decoder(Answer).decode


def read_answer(data: bytes) -> Answer | None:
    """The fields of the JSON object in `data`; None where it is none."""
    try:
        return _decode_answer(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (event type, data) pairs of server-sent events (WHATWG HTML section 9.2).

    `body` may begin or end within an event: such pieces come out as they are. Data lines are
    joined with newlines; comments and other fields are skipped.
    """
    kind = b""
    data: list[bytes] = []
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in body.split(b"\n"):
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


def ends_events(sent: bytes) -> bool:
    """Whether `sent`, the end of a stream so far, ends with a whole event (or is empty)."""
    return not sent or sent.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))


def usage_in_fragment(body: bytes) -> Any:
    """The value of the last `"usage"` key in a piece of JSON whose beginning is not known.

    Inside of a string the quotes would be escaped, so what is found is a key or a whole value.
    """
    at = body.rfind(b'"usage"')
    if at < 0:
        return None
    rest = body[at + len(b'"usage"') : at + 4096].lstrip()
    if not rest.startswith(b":"):
        return None
    try:
        text = rest[1:].decode("utf-8", "replace").lstrip()
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def tokens(value: object) -> int | None:
    """`value` if it is a sane token count, else None: upstreams send what they like."""
    return value if type(value) is int and 0 <= value < 1 << 40 else None

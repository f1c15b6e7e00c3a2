"""One line per model request: formatted here, because a logging library costs too much per line.

Never in it: prompts, answers, queries, header fields.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.monitor.base import Usage
from fairlead.monitor.writer import LineWriter

LogFormat = Literal["text", "json"]
_LONGEST = 256
"""Characters kept of a field that the client chooses."""


class AccessLine(msgspec.Struct):
    """The fields of a line, in order. Times in seconds, sizes in bytes."""

    time: str
    request_id: str
    method: str
    path: str
    status: int
    shape: str
    model: str
    upstream: str
    cache: str
    cache_detail: str
    outcome: str
    seconds: float
    first_byte: float | None
    queued: float
    request_bytes: int
    response_bytes: int
    tokens: int | None
    tenant: str
    user: str


class AccessLog:
    """Told of every ended model request; writes a line through `writer`; never raises or blocks."""

    def __init__(
        self, writer: LineWriter, log_format: LogFormat, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._writer = writer
        self._format = _as_json if log_format == "json" else _as_text
        self._clock = clock
        self._second = -1
        self._second_text = ""

    def __call__(self, usage: Usage) -> None:
        """Write the line of one ended request."""
        line = _line(usage, self._timestamp())
        self._writer.put(self._format(line))

    def _timestamp(self) -> str:
        milliseconds = int(self._clock.time() * 1000)
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{rest:03d}Z"


def _line(usage: Usage, time: str) -> AccessLine:
    principal, first_byte = usage.principal, usage.first_byte
    tokens: int | None = None
    if usage.input_tokens is not None or usage.output_tokens is not None:
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return AccessLine(
        time,
        usage.request_id,
        usage.method,
        usage.path[:_LONGEST],
        usage.status,
        usage.shape,
        usage.model[:_LONGEST],
        usage.upstream,
        usage.cache,
        usage.cache_detail,
        usage.outcome,
        round(usage.seconds, 6),
        None if first_byte is None else round(first_byte, 6),
        round(usage.queued, 6),
        usage.request_bytes,
        usage.response_bytes,
        tokens,
        principal.tenant[:_LONGEST],
        principal.user[:_LONGEST],
    )


_encode = msgspec.json.Encoder().encode


def _as_json(line: AccessLine) -> bytes:
    try:
        encoded = _encode(line)
    except UnicodeEncodeError:  # a lone surrogate in a name that a client chose
        encoded = b"\xff"
    # JSON escapes the controls below U+0020 only. Those above U+007F (a terminal obeys U+009B) are
    # escaped with everything else that is not ASCII, and U+007F by itself.
    if not encoded.isascii():
        encoded = json.dumps(msgspec.structs.asdict(line)).encode()
    return encoded.replace(b"\x7f", rb"\u007f") + b"\n"


def _as_text(line: AccessLine) -> bytes:
    first_byte = "-" if line.first_byte is None else f"{line.first_byte:.4f}"
    tokens = "-" if line.tokens is None else line.tokens
    text = (
        f"{line.time} {line.status} {line.method} {_word(line.path)} {line.seconds:.4f}s"
        f" outcome={line.outcome} cache={line.cache} cache_detail={_word(line.cache_detail)}"
        f" shape={line.shape or '-'} model={_word(line.model)} upstream={_word(line.upstream)}"
        f" first_byte={first_byte} queued={line.queued:.4f} request_bytes={line.request_bytes}"
        f" response_bytes={line.response_bytes} tokens={tokens} tenant={_word(line.tenant)}"
        f" user={_word(line.user)} request_id={line.request_id}"
    )
    return escape_controls(text).encode() + b"\n"


def _word(value: str) -> str:
    """`value` so that it stays one word: quoted where blanks could pretend to be further fields."""
    if not value:
        return "-"
    return json.dumps(value) if " " in value or '"' in value else value


def escape_controls(text: str) -> str:
    """`text` with every character that is not printable written as its escape (`\\n`, `\\x1b`)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)

"""Records and contracts of capture: an exchange as it was said, and who keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from fairlead.core.identity import Principal
from fairlead.errors import FairleadError

T = TypeVar("T")

MIB = 1024 * 1024


class UnreadableError(FairleadError):
    """The exchange is no conversation that can be read."""


class CapturedMessage(msgspec.Struct, frozen=True):
    """A message of a prompt or an answer, in the form in which assistants send it."""

    role: str
    content: bytes
    """Any JSON value, encoded."""
    metadata: Mapping[str, Any] = {}
    """Its other fields, without nulls: tool calls, name, and whatever else the API has."""


class CapturedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange: the whole prompt, and what was answered."""

    principal: Principal
    session: str
    """Of `sessions.session_of`: never another tenant's."""
    request_id: str
    time: int
    """Milliseconds since 1970 when the request came."""
    seconds: float
    """From then to the answer's end."""
    shape: str
    path: str
    model: str
    """That answered, where the answer says so, else the one asked for."""
    upstream: str
    cache: str
    """As in `UsageRecord`."""
    status: int
    outcome: str
    """As in `UsageRecord`."""
    stream: bool
    response_id: str = ""
    """The answer's own."""
    finish_reason: str = ""
    usage: Mapping[str, Any] = {}
    """The figures as the API gave them."""
    error: str = ""
    """What went wrong with an answer that began well."""
    max_tokens: int | None = None
    """What the answer was limited to."""
    system: Sequence[CapturedMessage] = ()
    """Instructions before anything else was said."""
    messages: Sequence[CapturedMessage] = ()
    answer: Sequence[CapturedMessage] = ()
    partial: bool = False
    """The answer is not whole: it broke off, the client left, or it is too long to keep."""
    truncated: bool = False
    """It is longer than what is kept of an answer."""


class TurnSink(Protocol[T]):
    """Where captured turns go, in two steps: what takes time, and what belongs to the loop."""

    def prepare(self, turn: CapturedTurn) -> T:
        """Make of `turn` what is to be stored; called in a thread, for one turn at a time.

        Raises `FairleadError` where it cannot be stored.
        """
        ...

    async def deliver(self, prepared: T) -> None:
        """Hand it on, waiting until there is room."""
        ...


class CaptureOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a `TurnCapture`; bytes and seconds."""

    max_answer_bytes: int = 8 * MIB
    """Of a longer answer only the beginning is kept."""
    max_bytes: int = 64 * MIB
    """Of answers in progress, and of exchanges that wait to be read and stored."""
    max_waiting: int = 10_000
    """Exchanges that wait."""
    read_timeout: float = 60.0
    """For reading what is read at a time."""
    close_timeout: float = 10.0
    """How long `close` goes on reading and storing."""


class CaptureStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a `TurnCapture`; counts are since it was made."""

    captured: int
    """Exchanges handed to the sink."""
    dropped: Mapping[str, int]
    """Those that were not, by reason: `memory`, `queue`, `unreadable`, `failed`, `late`, `closing`.
    """
    waiting: int
    """Exchanges that have ended and are not handed on yet."""
    bytes: int
    """Held now, of `max_bytes`."""

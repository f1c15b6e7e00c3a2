"""What was captured becomes what is stored: turns of the gateway, records of conversations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal, Protocol

import msgspec

from fairlead.app.following import Following, Known
from fairlead.conversations.digests import digest_of
from fairlead.conversations.records import NewMessage, Operation, Record, Turn, Viewer
from fairlead.conversations.texts import message_text, title_of, value_of
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.identity import Principal
from fairlead.core.ids import uuid7
from fairlead.core.lru import SizedLRU
from fairlead.errors import CapacityError
from fairlead.gateway.capture.base import CapturedMessage, CapturedTurn, UnreadableError
from fairlead.gateway.capture.masks import Masks

Mode = Literal["full", "metadata"]

REMEMBERED, REMEMBERED_BYTES = 100_000, 32 * 1024 * 1024
"""Messages that need not be read again when they are sent again."""
RETRY = 0.05
"""Seconds before the writer is asked again, where its room is too small for a large record."""

_NULL = b"null"
_TEXT = ("text", "input_text")
_ASIDE = re.compile(
    r"(?:please )?(?:(?:generate|write|create|suggest|give)\b.{0,60}"
    r"\b(?:title|name|topic|summary|label)\b.{0,60}|summari[sz]e\b.{0,40})"
    r"\b(?:conversation|chat|session|thread)\b.*",
    re.IGNORECASE,
)
"""What assistants ask on their own account, to name a conversation."""
_RANDOM_BITS = (1 << 62) - 1
"""Of a UUIDv7, those behind its variant."""


class Writer(Protocol):
    """What is asked of the writer: the same as in `BatchedThreadWriter`."""

    def enqueue(self, operation: Operation) -> None:
        """Accept `operation`; raises `CapacityError` where there is no room."""
        ...

    async def room(self) -> None:
        """Return when there is room for a small operation."""
        ...


class TurnRecorder:
    """Makes records of captured turns and hands them to the writer (`capture.base.TurnSink`).

    What matches `masks` is replaced before anything else is done, so digests, titles and the
    search index know nothing of it; masking is the same every time, and so what was masked is
    recognised when it is sent again. With `mode` `metadata` no content is stored, nor the arguments
    of tool calls: roles, times, sizes, digests (by which whoever guesses a text can see that it was
    said), and the figures of answers are.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        mode: Mode = "full",
        masks: Masks | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._writer = writer
        self._mode = mode
        self._masks = masks or Masks()
        self._clock = clock
        self._known: SizedLRU[bytes, Known] = SizedLRU(
            REMEMBERED, REMEMBERED_BYTES, lambda known: known.size
        )
        self._following = Following()

    def prepare(self, turn: CapturedTurn) -> Record:
        """The operation that stores `turn`; raises `FairleadError` for what cannot be stored."""
        try:
            return self._record(turn)
        except RecursionError as error:
            raise UnreadableError("it is nested too deeply") from error

    def _record(self, turn: CapturedTurn) -> Record:
        ended = turn.time + int(turn.seconds * 1000)
        ids = _ids(ended)
        principal = turn.principal
        system = [self._read(message) for message in turn.system]
        prompt = [self._read(message) for message in turn.messages]
        answer = [self._read(message) for message in turn.answer]
        figures = self._figures(turn)
        session = session_digest(principal, turn.session)
        earlier: Sequence[Known] = ()
        if previous := _previous(turn):
            session, earlier = self._following.before(principal, previous) or (session, ())
        if turn.response_id:
            said = (*prompt, *answer)
            self._following.keep(principal, turn.response_id, session, previous, said)
        return Record(
            id=next(ids),
            thread=next(ids),
            viewer=Viewer(principal.tenant, principal.user, principal.team),
            time=ended,
            turn=Turn(
                session=session,
                team=principal.team,
                title=_title(prompt, turn.max_tokens),
                system=tuple(_new(known, next(ids), turn.time) for known in system),
                prompt=_asked([*earlier, *prompt], ids, turn.time, {} if answer else figures),
                answer=_answered(answer, ids, ended, figures),
            ),
        )

    async def deliver(self, record: Record) -> None:
        """Hand it to the writer, however long there is no room; raises `ClosedError`."""
        while not self._accepted(record):
            await self._writer.room()
            if self._accepted(record):
                return
            await self._clock.sleep(RETRY)

    def _accepted(self, record: Record) -> bool:
        try:
            self._writer.enqueue(record)
        except CapacityError:
            return False
        return True

    def _figures(self, turn: CapturedTurn) -> Mapping[str, Any]:
        figures = _figures(turn)
        if self._mode == "metadata":
            figures.pop("error", None)  # it may quote what was said
        masked: Mapping[str, Any] = self._masks.value(figures)
        return masked

    def _read(self, message: CapturedMessage) -> Known:
        key = _key(message)
        known = self._known.get(key)
        if known is None:
            known = self._read_anew(message)
            self._known.put(key, known)
        return known

    def _read_anew(self, message: CapturedMessage) -> Known:
        content = self._masks.json(message.content)
        metadata = self._masks.value(message.metadata)
        # The arguments of tool calls are here, which may be whole files.
        size = len(msgspec.json.encode(metadata))
        digest = digest_of(message.role, content, metadata)
        if self._mode == "metadata":
            outline = {**_outline(metadata), "size": len(message.content)}
            return Known(message.role, _NULL, outline, digest, "", "", size)
        title = title_of(_spoken(content)) if message.role == "user" else ""
        text = message_text(content, metadata)
        return Known(message.role, content, metadata, digest, text, title, size)


def session_digest(principal: Principal, session: str) -> str:
    """32 hexadecimal digits: by which a session finds its thread, never another user's."""
    hasher = blake2b(digest_size=16)
    for part in (principal.tenant, principal.user, session):
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()


def _previous(turn: CapturedTurn) -> str:
    """The response that this one goes on from, where the request says no more than that."""
    previous = turn.messages[0].metadata.get("previous_response_id") if turn.messages else None
    return previous if isinstance(previous, str) else ""


def _key(message: CapturedMessage) -> bytes:
    hasher = blake2b(msgspec.json.encode((message.role, message.metadata)), digest_size=16)
    hasher.update(message.content)
    return hasher.digest()


def _ids(now: int) -> Iterator[str]:
    """UUIDv7s of one moment, each one more than the last (RFC 9562, section 6.2, method 2)."""
    first = uuid7(now).int
    above, below = first & ~_RANDOM_BITS, first & _RANDOM_BITS
    while True:
        # By hand, because a prompt has thousands: a UUID object costs three times as much.
        digits = f"{above | below:032x}"
        yield "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        below = (below + 1) & _RANDOM_BITS


def _new(known: Known, name: str, time: int, more: Mapping[str, Any] | None = None) -> NewMessage:
    return NewMessage(
        id=name,
        role=known.role,
        timestamp=time,
        content=known.content,
        metadata={**known.metadata, **more} if more else known.metadata,
        digest=known.digest,
        text=known.text,
    )


def _asked(
    prompt: Sequence[Known], ids: Iterator[str], time: int, figures: Mapping[str, Any]
) -> tuple[NewMessage, ...]:
    """The prompt's messages; what became of a request without an answer is told with the last."""
    last = len(prompt) - 1
    return tuple(
        _new(known, next(ids), time, figures if number == last else None)
        for number, known in enumerate(prompt)
    )


def _answered(
    answer: Sequence[Known], ids: Iterator[str], time: int, figures: Mapping[str, Any]
) -> tuple[NewMessage, ...]:
    """The answer's messages; what was counted of all of it is told with the last."""
    about = {name: figures[name] for name in ("model", "request_id") if name in figures}
    last = len(answer) - 1
    return tuple(
        _new(known, next(ids), time, figures if number == last else about)
        for number, known in enumerate(answer)
    )


def _figures(turn: CapturedTurn) -> dict[str, Any]:
    """What is kept of an answer besides what it says."""
    figures = {
        "model": turn.model,
        "request_id": turn.request_id,
        "response_id": turn.response_id,
        "upstream": turn.upstream,
        "shape": turn.shape,
        "cache": turn.cache,
        "usage": dict(turn.usage),
        "finish_reason": turn.finish_reason,
        "latency_ms": int(turn.seconds * 1000),
        "partial": turn.partial,
        "truncated": turn.truncated,
        "error": turn.error,
    }
    # Zero milliseconds are a figure; all else that is empty is not known.
    return {name: value for name, value in figures.items() if value or name == "latency_ms"}


def _outline(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Which tools were called, without what they were given."""
    outline = {name: metadata[name] for name in ("tool_call_id", "name") if name in metadata}
    calls = metadata.get("tool_calls")
    if isinstance(calls, list):
        outline["tool_calls"] = [_call(call) for call in calls if isinstance(call, dict)]
    return outline


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    named = function if isinstance(function, dict) else call
    return {"id": call.get("id"), "name": named.get("name")}


def _spoken(content: bytes) -> str:
    """What was typed: tool results come under the user's role as well."""
    value = value_of(content)
    if isinstance(value, str):
        return value
    blocks = value if isinstance(value, list) else []
    texts = (block.get("text") for block in blocks if _is_text(block))
    return "\n".join(text for text in texts if isinstance(text, str))


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in _TEXT


def _title(prompt: Sequence[Known], max_tokens: int | None) -> str:
    """What was asked last: what stands before it are examples, or an earlier conversation.

    An answer of one token is no conversation, but a test whether there is any.
    """
    if max_tokens == 1:
        return ""
    titles = (known.title for known in reversed(prompt) if known.title)
    return next((title for title in titles if not _ASIDE.fullmatch(title)), "")

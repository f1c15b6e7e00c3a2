"""An exchange, read when it is over: the prompt as it was sent, the answer put together (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fairlead.gateway.caching import content_coding, is_event_stream
from fairlead.gateway.capture.base import CapturedTurn, UnreadableError
from fairlead.gateway.capture.chat import Chat
from fairlead.gateway.capture.coding import decode_beginning
from fairlead.gateway.capture.forms import UNREADABLE, Answered, Prompt, mended
from fairlead.gateway.capture.messages import Messages
from fairlead.gateway.capture.responses import Responses
from fairlead.gateway.capture.tape import TurnTape
from fairlead.gateway.sessions import session_of
from fairlead.gateway.shapes.base import events


class Reader(Protocol):
    """One API's form of prompts and answers; raises one of `UNREADABLE` for any other."""

    def prompt(self, body: bytes) -> Prompt:
        """Read a request."""
        ...

    def plain(self, body: bytes) -> Answered:
        """Read an answer in one piece."""
        ...

    def stream(self, events: Iterable[tuple[bytes, bytes]]) -> Answered:
        """Put an answer together from its events, of which any may be missing or broken."""
        ...


READERS: dict[bytes, Reader] = {
    b"/v1/chat/completions": Chat(),
    b"/v1/responses": Responses(),
    b"/v1/messages": Messages(),
}
"""By path: what is captured."""


def read_turn(tape: TurnTape, max_answer_bytes: int) -> CapturedTurn:
    """The exchange on `tape`; raises `UnreadableError` where its request is no conversation.

    Of an answer that cannot be read nothing is kept. `max_answer_bytes` bounds its decoded form.
    """
    request, usage = tape.request, tape.usage
    reader = READERS[request.path]
    prompt = _prompt(reader, tape.body)
    answered = _answer(reader, tape, max_answer_bytes)
    return CapturedTurn(
        principal=request.principal,
        session=session_of(request, tape.body),
        request_id=usage.request_id,
        time=int((tape.ended - usage.seconds) * 1000),
        seconds=usage.seconds,
        shape=usage.shape,
        path=usage.path,
        model=answered.model or usage.model,
        upstream=usage.upstream,
        cache=usage.cache,
        status=usage.status,
        outcome=usage.outcome,
        stream=usage.stream,
        response_id=answered.id,
        finish_reason=answered.finish_reason,
        usage=answered.usage,
        error=answered.error,
        max_tokens=prompt.max_tokens,
        system=prompt.system,
        messages=prompt.messages,
        answer=answered.messages,
        partial=not answered.complete,
        truncated=tape.truncated,
    )


def _prompt(reader: Reader, body: bytes) -> Prompt:
    try:
        body.decode()  # what is passed over is not looked at by the reader
        return reader.prompt(body)
    except UNREADABLE:
        return _mended_prompt(reader, body)


def _mended_prompt(reader: Reader, body: bytes) -> Prompt:
    try:
        return reader.prompt(mended(body))
    except UNREADABLE as error:
        raise UnreadableError(f"the request is no conversation: {type(error).__name__}") from error


def _answer(reader: Reader, tape: TurnTape, limit: int) -> Answered:
    if tape.usage.status >= 400:
        return Answered()
    coding = content_coding(tape.headers)
    body, is_whole = decode_beginning(b"".join(tape.pieces), coding, limit)
    try:
        if is_event_stream(tape.headers):
            return reader.stream(events(body))
        return reader.plain(body) if is_whole else Answered(error="the answer is cut short")
    except UNREADABLE as error:
        return Answered(error=f"the answer cannot be read: {type(error).__name__}")

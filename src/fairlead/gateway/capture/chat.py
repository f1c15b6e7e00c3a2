"""Chat completions: `messages` in, `choices` out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.gateway.capture.base import CapturedMessage
from fairlead.gateway.capture.forms import (
    Answered,
    Merged,
    Prompt,
    count,
    encode,
    error_in,
    fields_of,
    mapping,
    message_of,
    object_of,
    objects,
    parted,
    text,
    value_of,
)


class _Asked(msgspec.Struct):
    messages: list[Raw]
    model: Any = ""
    max_tokens: Any = None
    max_completion_tokens: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode


class Chat:
    """`POST /v1/chat/completions`."""

    def prompt(self, body: bytes) -> Prompt:
        """Each message as it was sent."""
        asked = _decode_asked(body)
        system, messages = parted([_message(fields_of(raw)) for raw in asked.messages])
        limit = count(asked.max_completion_tokens) or count(asked.max_tokens)
        return Prompt(text(asked.model), system, messages, limit)

    def plain(self, body: bytes) -> Answered:
        """A message for each choice."""
        answer = mapping(value_of(body))
        choices = objects(answer.get("choices"))
        found = Answered(error=error_in(answer))
        _describe(found, answer)
        found.complete = bool(choices) and not found.error
        found.finish_reason = text(choices[0].get("finish_reason")) if choices else ""
        messages = (_answer(mapping(choice.get("message")), found.complete) for choice in choices)
        found.messages = [message for message in messages if message is not None]
        return found

    def stream(self, events: Iterable[tuple[bytes, bytes]]) -> Answered:
        """The choices' deltas, put together; whole where each has its finish reason."""
        stream = _Stream()
        for _, data in events:
            if (event := object_of(data)) is not None:  # `[DONE]` is none
                stream.add(event)
        return stream.answered()


class _Stream:
    def __init__(self) -> None:
        self._found = Answered()
        self._choices: dict[int, Merged] = {}
        self._reasons: dict[int, str] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        _describe(self._found, event)
        self._found.error = self._found.error or error_in(event)
        for choice in objects(event.get("choices")):
            index = choice.get("index")
            place = index if type(index) is int else 0
            merged = self._choices.setdefault(place, Merged())
            merged.add(mapping(choice.get("delta")))
            if reason := text(choice.get("finish_reason")):
                self._reasons[place] = reason

    def answered(self) -> Answered:
        found, order = self._found, sorted(self._choices)
        found.complete = bool(order) and len(self._reasons) == len(order) and not found.error
        found.finish_reason = self._reasons.get(order[0], "") if order else ""
        messages = (_answer(self._choices[place].whole(), found.complete) for place in order)
        found.messages = [message for message in messages if message is not None]
        return found


def _describe(found: Answered, answer: Mapping[str, Any]) -> None:
    found.id = text(answer.get("id")) or found.id
    found.model = text(answer.get("model")) or found.model
    found.usage = mapping(answer.get("usage")) or found.usage


def _message(fields: dict[str, Raw], role: str = "user") -> CapturedMessage:
    if "function_call" in fields and "tool_calls" not in fields:
        # As tools were called before there were several at a time.
        call = fields.pop("function_call")
        if bytes(call) != b"null":
            fields["tool_calls"] = Raw(b'[{"type":"function","function":%b}]' % bytes(call))
    return message_of(fields, role)


def _answer(message: Mapping[str, Any], complete: bool) -> CapturedMessage | None:
    """The message of a choice; None for one that broke off before anything was said."""
    said = _message(fields_of(encode(message)), "assistant")
    is_empty = said.content in {b"null", b'""'} and not said.metadata
    return None if is_empty and not complete else said

"""Anthropic's messages: `system` and `messages` in, content blocks out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.gateway.capture.base import CapturedMessage
from fairlead.gateway.capture.forms import (
    UNREADABLE,
    Answered,
    Merged,
    Prompt,
    count,
    encode,
    error_in,
    fields_of,
    instructions,
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
    system: Raw = Raw(b"null")
    model: Any = ""
    max_tokens: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode


class Messages:
    """`POST /v1/messages`."""

    def prompt(self, body: bytes) -> Prompt:
        """Each message as it was sent; the system prompt before them, block by block."""
        asked = _decode_asked(body)
        leading, messages = parted([message_of(fields_of(raw), "user") for raw in asked.messages])
        system = [*instructions("system", bytes(asked.system)), *leading]
        return Prompt(text(asked.model), system, messages, count(asked.max_tokens))

    def plain(self, body: bytes) -> Answered:
        """One message with its blocks."""
        answer = mapping(value_of(body))
        found = Answered(error=error_in(answer))
        _describe(found, answer)
        found.finish_reason = text(answer.get("stop_reason"))
        blocks = objects(answer.get("content"))
        found.complete = isinstance(answer.get("content"), list) and not found.error
        found.messages = _message(blocks, found.complete)
        return found

    def stream(self, events: Iterable[tuple[bytes, bytes]]) -> Answered:
        """The blocks' deltas, put together; whole where `message_stop` has come."""
        stream = _Stream()
        for _, data in events:
            if (event := object_of(data)) is not None:
                stream.add(event)
        return stream.answered()


class _Stream:
    def __init__(self) -> None:
        self._found = Answered()
        self._blocks: dict[int, _Block] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        kind, found = event.get("type"), self._found
        if kind == "content_block_delta":
            self._block(event).add(mapping(event.get("delta")))
        elif kind == "content_block_start":
            self._block(event).start(mapping(event.get("content_block")))
        elif kind == "message_start":
            _describe(found, mapping(event.get("message")))
        elif kind == "message_delta":
            reason = text(mapping(event.get("delta")).get("stop_reason"))
            found.finish_reason = reason or found.finish_reason
            _describe(found, event)
        elif kind == "message_stop":
            found.complete = not found.error
        elif kind == "error":
            found.error, found.complete = error_in(event) or "error", False

    def _block(self, event: Mapping[str, Any]) -> _Block:
        index = event.get("index")
        return self._blocks.setdefault(index if type(index) is int else 0, _Block())

    def answered(self) -> Answered:
        found = self._found
        blocks = [block.whole() for _, block in sorted(self._blocks.items())]
        found.messages = _message(blocks, found.complete)
        return found


class _Block:
    def __init__(self) -> None:
        self._merged = Merged()
        self._input: list[str] = []
        self._citations: list[Any] = []

    def start(self, block: Mapping[str, Any]) -> None:
        self._merged = Merged(block)

    def add(self, delta: Mapping[str, Any]) -> None:
        for name, value in delta.items():
            if name == "partial_json":
                self._input.append(text(value))
            elif name == "citation":
                self._citations.append(value)
            elif name != "type" and isinstance(value, str):
                self._merged.append(name, value)

    def whole(self) -> dict[str, Any]:
        block = self._merged.whole()
        # The beginning of the stream may be what is missing.
        block.setdefault("type", "thinking" if "thinking" in block else "text")
        if given := "".join(self._input):
            block["input"] = _json_or_text(given)
        if self._citations:
            before = block.get("citations")
            block["citations"] = [*(before if isinstance(before, list) else ()), *self._citations]
        return block


def _json_or_text(given: str) -> Any:
    try:
        return value_of(given.encode("utf-8", "replace"))
    except UNREADABLE:
        return given  # it broke off


def _describe(found: Answered, answer: Mapping[str, Any]) -> None:
    found.id = text(answer.get("id")) or found.id
    found.model = text(answer.get("model")) or found.model
    figures = mapping(answer.get("usage"))
    known = {name: value for name, value in figures.items() if value is not None}
    found.usage = {**found.usage, **known}


def _message(blocks: list[dict[str, Any]], complete: bool) -> list[CapturedMessage]:
    return [CapturedMessage("assistant", encode(blocks))] if blocks or complete else []

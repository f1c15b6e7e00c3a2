"""OpenAI responses: `instructions` and `input` items in, `output` items out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.gateway.capture.base import CapturedMessage
from fairlead.gateway.capture.forms import (
    NULL,
    Answered,
    Merged,
    Prompt,
    count,
    encode,
    error_in,
    fields_of,
    instructions,
    items_of,
    mapping,
    message_of,
    object_of,
    objects,
    parted,
    text,
    value_of,
)

_RAW_NULL = Raw(NULL)


class _Asked(msgspec.Struct):
    input: Raw = _RAW_NULL
    instructions: Raw = _RAW_NULL
    model: Any = ""
    max_output_tokens: Any = None
    previous_response_id: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode


class Responses:
    """`POST /v1/responses`."""

    def prompt(self, body: bytes) -> Prompt:
        """A message for each item; those after a `previous_response_id` name it."""
        asked = _decode_asked(body)
        system = instructions("system", bytes(asked.instructions))
        leading, messages = parted(_input(bytes(asked.input)))
        if messages and (previous := text(asked.previous_response_id)):
            first = messages[0]
            metadata = {**first.metadata, "previous_response_id": previous}
            messages = [msgspec.structs.replace(first, metadata=metadata), *messages[1:]]
        limit = count(asked.max_output_tokens)
        return Prompt(text(asked.model), [*system, *leading], messages, limit)

    def plain(self, body: bytes) -> Answered:
        """The output of the response."""
        found = Answered()
        response = mapping(value_of(body))
        _describe(found, response)
        found.messages = _messages(objects(response.get("output")))
        return found

    def stream(self, events: Iterable[tuple[bytes, bytes]]) -> Answered:
        """The items that were done, and of the others what had come of them."""
        stream = _Stream()
        for _, data in events:
            if (event := object_of(data)) is not None:
                stream.add(event)
        return stream.answered()


def _input(given: bytes) -> list[CapturedMessage]:
    if given == NULL:
        return []
    if given[:1] == b'"':
        return [CapturedMessage("user", given)]
    return as_messages(items_of(given))


def _describe(found: Answered, response: Mapping[str, Any]) -> None:
    """What a response says of itself; later ones say more."""
    found.id = text(response.get("id")) or found.id
    found.model = text(response.get("model")) or found.model
    found.usage = mapping(response.get("usage")) or found.usage
    status = text(response.get("status"))
    reason = text(mapping(response.get("incomplete_details")).get("reason"))
    found.error = found.error or error_in(response)
    found.complete = status in {"completed", "incomplete"} and not found.error
    # What is still going on has not finished for a reason.
    if status not in {"queued", "in_progress"}:
        found.finish_reason = reason or status or found.finish_reason


# ---- items to messages


def _messages(items: Iterable[Mapping[str, Any]]) -> list[CapturedMessage]:
    return as_messages([Raw(encode(item)) for item in items])


def as_messages(items: Iterable[Raw]) -> list[CapturedMessage]:
    """A message for each item, its reasoning in it: assistants may send the one without the other.

    What the model did is an assistant's, what came of it a tool's.
    """
    found: list[CapturedMessage] = []
    thoughts: list[bytes] = []
    for item in items:
        fields = fields_of(item)
        kind = text(value_of(fields.get("type", NULL)))
        if kind == "reasoning":
            thoughts.append(bytes(item))
            continue
        message = _item(kind, fields, bytes(item))
        if thoughts and message.role == "assistant":
            message = _with(thoughts, message)
        elif thoughts:
            found.append(_thinking(thoughts))
        thoughts = []
        found.append(message)
    return [*found, _thinking(thoughts)] if thoughts else found


def _item(kind: str, fields: dict[str, Raw], item: bytes) -> CapturedMessage:
    if kind == "message" or (not kind and "role" in fields):
        fields.pop("type", None)
        return message_of(fields, "user")
    is_result = kind.endswith("_output") or kind == "mcp_approval_response"
    return CapturedMessage("tool" if is_result else "assistant", b"[%b]" % item)


def _with(thoughts: list[bytes], message: CapturedMessage) -> CapturedMessage:
    content = message.content
    if content[:1] == b"[":
        said = list(map(bytes, items_of(content)))
    elif content == NULL:
        said = []
    else:
        said = [b'{"type":"output_text","text":%b}' % content]
    joined = b"[%b]" % b",".join([*thoughts, *said])
    return msgspec.structs.replace(message, content=joined)


def _thinking(thoughts: list[bytes]) -> CapturedMessage:
    return CapturedMessage("assistant", b"[%b]" % b",".join(thoughts))


# ---- events to items

_FIELDS = {
    "function_call_arguments": ("function_call", "arguments"),
    "custom_tool_call_input": ("custom_tool_call", "input"),
    "mcp_call_arguments": ("mcp_call", "arguments"),
    "code_interpreter_call_code": ("code_interpreter_call", "code"),
}
"""Deltas of a field: kind of the item, and the field."""
_PARTS = {
    "output_text": ("message", "content", "output_text", "text"),
    "refusal": ("message", "content", "refusal", "refusal"),
    "reasoning_text": ("reasoning", "content", "reasoning_text", "text"),
    "reasoning_summary_text": ("reasoning", "summary", "summary_text", "text"),
}
"""Deltas of a part: kind of the item, list of the parts, kind and field of the part."""


class _Stream:
    def __init__(self) -> None:
        self._found = Answered()
        self._items: dict[Any, _Item] = {}
        self._output: list[dict[str, Any]] = []

    def add(self, event: Mapping[str, Any]) -> None:
        kind = text(event.get("type"))
        name = kind.removeprefix("response.").removesuffix(".delta")
        if kind.endswith(".delta"):
            self._item(event).grow(name, event)
        elif name in {"output_item.added", "output_item.done"}:
            self._item(event).set(mapping(event.get("item")), is_done=name.endswith("done"))
        elif kind == "error":
            self._found.error = self._found.error or error_in({"error": event}) or "error"
            self._found.complete = False
        elif "response" in event:
            response = mapping(event["response"])
            _describe(self._found, response)
            self._output = objects(response.get("output")) or self._output

    def _item(self, event: Mapping[str, Any]) -> _Item:
        place = event.get("output_index")
        if type(place) is not int:
            place = text(event.get("item_id"))
        return self._items.setdefault(place, _Item())

    def answered(self) -> Answered:
        items = [item for item in self._items.values() if item.kind]
        is_done = items and all(item.is_done for item in items)
        # The last event tells everything once more; servers that send no more than that exist.
        whole = [] if is_done else self._output
        self._found.messages = _messages(whole or [item.whole() for item in items])
        return self._found


class _Item:
    """An output item while it comes: it begins, grows by deltas, and is told once more whole."""

    def __init__(self) -> None:
        self.kind = ""
        """Empty while nothing is known of it."""
        self._merged = Merged()
        self._parts: dict[tuple[str, int], Merged] = {}
        self._done: dict[str, Any] = {}

    @property
    def is_done(self) -> bool:
        """It was told whole."""
        return bool(self._done)

    def set(self, item: Mapping[str, Any], *, is_done: bool) -> None:
        self.kind = text(item.get("type")) or self.kind
        if is_done:
            self._done = dict(item)
        else:
            self._merged = Merged(item)

    def grow(self, name: str, event: Mapping[str, Any]) -> None:
        piece = text(event.get("delta"))
        if name in _FIELDS:
            kind, field = _FIELDS[name]
            self._merged.append(field, piece)
        elif name in _PARTS:
            kind, field, *_ = _PARTS[name]
            self._part(name, field, event).append(_PARTS[name][3], piece)
        else:
            return
        self.kind = self.kind or kind

    def _part(self, name: str, field: str, event: Mapping[str, Any]) -> Merged:
        index = event.get("summary_index" if field == "summary" else "content_index")
        place = field, index if type(index) is int else 0
        return self._parts.setdefault(place, Merged({"type": _PARTS[name][2]}))

    def whole(self) -> dict[str, Any]:
        if self._done:
            return self._done
        item = {"type": self.kind, **self._merged.whole()}
        if self.kind == "message":
            item.setdefault("role", "assistant")
        for (field, _), part in sorted(self._parts.items(), key=lambda known: known[0]):
            before = item.get(field)
            item[field] = [*(before if isinstance(before, list) else ()), part.whole()]
        return item

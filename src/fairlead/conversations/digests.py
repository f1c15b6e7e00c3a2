"""By what a message is recognised when an assistant sends it again (pure).

An assistant sends its conversation anew with each request, and hardly ever byte for byte: cache
marks move, a text becomes a block, keys come in another order, answers lose their ids and their
reasoning. A digest is made of what was said and done, and of nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fairlead.conversations.texts import value_of
from fairlead.errors import RequestError

_TEXT = frozenset({"text", "input_text", "output_text"})
_UNSAID = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_text"})
_THOUGHTS = ("reasoning_content", "reasoning", "audio")
"""Of a message's other fields, those that tell two apart that say nothing else."""
_PASSING = frozenset(
    {"annotations", "cache_control", "id", "logprobs", "phase", "signature", "status"}
)
"""Fields that say nothing, or that an API adds to its answers and assistants may leave out."""

_encode = msgspec.json.Encoder(order="sorted").encode


def digest_of(role: str, content: bytes, metadata: Mapping[str, Any]) -> str:
    """32 hexadecimal digits: BLAKE2b over the role, the content and the tool calls of a message.

    `content` is JSON. What counts of `metadata`: `tool_calls` (as Chat Completions has them, or
    flat: id, name, arguments), `refusal`, `tool_call_id`, `name`. Raises `RequestError` (400) for a
    content that is no JSON (`texts.value_of`) or nested too deeply.
    """
    value = value_of(content)
    try:
        data = _encode([role, *_essence(value, metadata)])
    except RecursionError as error:
        raise RequestError(400, "the content is nested too deeply", param="content") from error
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _essence(content: Any, metadata: Mapping[str, Any]) -> list[Any]:
    said = _parts(content)
    given = metadata.get("tool_calls") or []
    calls = [_call(call) for call in given] if isinstance(given, list | tuple) else given
    if refusal := metadata.get("refusal"):
        said.append(["refusal", refusal])
    if not said and not calls:
        # Nothing but reasoning: two such messages are not the same for that.
        said = [_plain(block) for block in _blocks(content) if _kind(block) in _UNSAID]
        said += [metadata[name] for name in _THOUGHTS if metadata.get(name)]
    return [said, calls, metadata.get("tool_call_id") or "", metadata.get("name") or ""]


def _blocks(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _kind(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) else ""


def _parts(content: Any) -> list[Any]:
    """What counts of a content: its blocks, texts as bare strings."""
    return [part for block in _blocks(content) if (part := _part(block)) is not None]


def _part(block: Any) -> Any:
    """What counts of a block; None where that is nothing."""
    if isinstance(block, str):
        return block.strip() or None
    if not isinstance(block, dict):
        return block
    kind = _kind(block)
    if kind in _TEXT:
        text = block.get("text")
        return text.strip() or None if isinstance(text, str) else text
    if kind in _UNSAID:
        return None
    reader: Callable[[Mapping[str, Any]], Any] = _READERS.get(kind, _plain)
    return reader(block)


def _tool_use(block: Mapping[str, Any]) -> Any:
    return ["call", block.get("id"), block.get("name"), _alike(block.get("input"))]


def _function_call(block: Mapping[str, Any]) -> Any:
    return ["call", block.get("call_id"), block.get("name"), _arguments(block.get("arguments"))]


def _tool_result(block: Mapping[str, Any]) -> Any:
    return ["result", block.get("tool_use_id"), _parts(block.get("content"))]


def _function_output(block: Mapping[str, Any]) -> Any:
    return ["result", block.get("call_id"), _parts(block.get("output"))]


def _reference(block: Mapping[str, Any]) -> Any:
    return ["item", block.get("id")]


_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "tool_use": _tool_use,
    "server_tool_use": _tool_use,
    "mcp_tool_use": _tool_use,
    "function_call": _function_call,
    "tool_result": _tool_result,
    "function_call_output": _function_output,
    "item_reference": _reference,
}


def _call(call: Any) -> Any:
    """A tool call of Chat Completions, whether its function is an object of its own or not."""
    if not isinstance(call, dict):
        return call
    function = call.get("function")
    inner = function if isinstance(function, dict) else call
    return ["call", call.get("id"), inner.get("name"), _arguments(inner.get("arguments"))]


def _arguments(given: Any) -> Any:
    """The arguments of a call, which are JSON within a string: their value, if they are JSON."""
    if not isinstance(given, str):
        return _alike(given)
    if not given.strip():
        return {}
    try:
        return _alike(msgspec.json.decode(given))
    except (msgspec.DecodeError, RecursionError):
        # Models write invalid arguments at times; then the text itself is what was said.
        return given.strip()


def _alike(value: Any) -> Any:
    """The value with 30.0 as 30, which is one number in JavaScript."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _alike(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_alike(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """Any other value without the fields that do not count, and without nulls."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if item is not None and key not in _PASSING
        }
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value

"""Anthropic messages: `POST /v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fairlead.gateway.simulated.chat import schema_of
from fairlead.gateway.simulated.model import Answer, Block
from fairlead.gateway.simulated.prompt import (
    Call,
    Prompt,
    Tool,
    Turn,
    dicts,
    digest_of,
    render,
    string,
    text_of,
)
from fairlead.gateway.simulated.shape import Event, encode, typed
from fairlead.gateway.simulated.tokens import estimate, pieces

_STOP = {
    "stop": "end_turn",
    "sequence": "stop_sequence",
    "length": "max_tokens",
    "tool": "tool_use",
}
_CHOICE = {"auto": "auto", "any": "required", "none": "none", "tool": "required"}


class InputMessage(msgspec.Struct):
    """One message of a request."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class Thinking(msgspec.Struct):
    """`thinking` of a request; a display of `omitted` leaves only the signature."""

    type: str
    display: str | None = None


class CountRequest(msgspec.Struct):
    """The fields of a request that make its prompt."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[InputMessage], Meta(min_length=1)]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: Thinking | None = None


class MessagesRequest(CountRequest, kw_only=True):
    """The fields of a request that matter here; all others are accepted."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    output_config: dict[str, Any] | None = None


class Messages:
    """Requests and answers of the messages API, byte for byte in its form."""

    family = "anthropic"
    request_type = MessagesRequest

    def prompt(self, request: MessagesRequest) -> Prompt:
        """Content blocks to turns; a user message may hold tool results and text."""
        tool_choice = request.tool_choice or {}
        kind = tool_choice.get("type")
        wanted = (request.output_config or {}).get("format")
        return msgspec.structs.replace(
            read(request),
            choice=_CHOICE.get(kind, "auto") if isinstance(kind, str) else "auto",
            forced=string(tool_choice.get("name")) if kind == "tool" else None,
            max_tokens=request.max_tokens,
            stop=tuple(request.stop_sequences or ()),
            temperature=request.temperature,
            thinking=request.thinking is not None
            and request.thinking.type in {"enabled", "adaptive"},
            schema=schema_of(wanted) if isinstance(wanted, dict) else None,
        )

    def is_stream(self, request: MessagesRequest) -> bool:
        """By `stream`."""
        return bool(request.stream)

    def plain(self, answer: Answer, request: MessagesRequest) -> bytes:
        """A `message` object."""
        choice = answer.choices[0]
        content = [_whole(block, request) for block in choice.blocks]
        message = _message(answer, content, answer.usage.output)
        message["stop_reason"] = _STOP[choice.finish]
        message["stop_sequence"] = choice.sequence
        return encode(message)

    def events(self, answer: Answer, request: MessagesRequest) -> Iterator[Event]:
        """`message_start`, each block's start, deltas and stop, `message_delta`, `message_stop`."""
        choice = answer.choices[0]
        yield typed("message_start", {"message": _message(answer, [], 1)}), False
        for index, block in enumerate(choice.blocks):
            opening = {"index": index, "content_block": _opening(block)}
            yield typed("content_block_start", opening), False
            if index == 0:
                yield typed("ping", {}), False
            for delta, paced in _deltas(block, request):
                yield (
                    b'%s{"type":"content_block_delta","index":%d,"delta":%s}\n\n'
                    % (
                        b"event: content_block_delta\ndata: ",
                        index,
                        delta,
                    ),
                    paced,
                )
            yield typed("content_block_stop", {"index": index}), False
        stop = {"stop_reason": _STOP[choice.finish], "stop_sequence": choice.sequence}
        usage = _usage(answer, answer.usage.output)
        yield typed("message_delta", {"delta": stop, "usage": usage}), False
        yield typed("message_stop", {}), False


def count_tokens(request: CountRequest) -> bytes:
    """The answer of `/v1/messages/count_tokens`."""
    return encode({"input_tokens": estimate(render(read(request)))})


def read(request: CountRequest) -> Prompt:
    """The prompt that `request` makes, without the limits of an answer."""
    system = text_of(request.system, ("text",))
    turns = [Turn("system", system)] if system else []
    for message in request.messages:
        turns.extend(_turns(message))
    tools = tuple(
        Tool(tool["name"], tool["input_schema"])
        for tool in request.tools or ()
        if isinstance(tool.get("name"), str) and "input_schema" in tool
    )
    return Prompt(model=request.model, turns=tuple(turns), tools=tools)


def _turns(message: InputMessage) -> Iterator[Turn]:
    rest = []
    for part in dicts(message.content):
        if part.get("type") == "tool_result":
            content = part.get("content")
            yield Turn("tool", text_of(content, ("text",)), (), _attachments(content))
        else:
            rest.append(part)
    text = text_of(message.content, ("text",))
    calls = tuple(
        Call(string(part.get("name")), string(part.get("input")))
        for part in rest
        if part.get("type") == "tool_use"
    )
    attachments = _attachments(rest)
    if text or calls or attachments or message.role == "assistant":
        yield Turn(message.role, text, calls, attachments)


def _attachments(content: object) -> tuple[bytes, ...]:
    return tuple(
        digest_of(part) for part in dicts(content) if part.get("type") in ("image", "document")
    )


def _signature(block: Block) -> str:
    return base64.b64encode(hashlib.sha512(b"simulated" + block.id.encode()).digest()).decode()


def _shown(block: Block, request: MessagesRequest) -> str:
    omitted = request.thinking is not None and request.thinking.display == "omitted"
    return "" if omitted else block.text


def _opening(block: Block) -> dict[str, Any]:
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if block.kind == "tool":
        return {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.name, "input": {}}
    return {"type": "text", "text": ""}


def _whole(block: Block, request: MessagesRequest) -> dict[str, Any]:
    if block.kind == "thinking":
        signature = _signature(block)
        return {"type": "thinking", "thinking": _shown(block, request), "signature": signature}
    if block.kind == "tool":
        return {**_opening(block), "input": msgspec.Raw(block.text.encode())}
    return {"type": "text", "text": block.text}


def _deltas(block: Block, request: MessagesRequest) -> Iterator[Event]:
    if block.kind == "text":
        for piece in pieces(block.text):
            yield b'{"type":"text_delta","text":' + encode(piece) + b"}", True
    elif block.kind == "tool":
        yield b'{"type":"input_json_delta","partial_json":""}', False
        for piece in pieces(block.text):
            yield b'{"type":"input_json_delta","partial_json":' + encode(piece) + b"}", True
    else:
        for piece in pieces(_shown(block, request)):
            yield b'{"type":"thinking_delta","thinking":' + encode(piece) + b"}", True
        yield encode({"type": "signature_delta", "signature": _signature(block)}), False


def _message(answer: Answer, content: list[Any], output_tokens: int) -> dict[str, Any]:
    return {
        "model": answer.model,
        "id": f"msg_{answer.id[:24]}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            **_usage(answer, output_tokens),
            "cache_creation": {
                "ephemeral_5m_input_tokens": answer.usage.prompt.stored,
                "ephemeral_1h_input_tokens": 0,
            },
            "service_tier": "standard",
        },
    }


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    prompt = answer.usage.prompt
    return {
        "input_tokens": prompt.prompt - prompt.cached - prompt.stored,
        "cache_creation_input_tokens": prompt.stored,
        "cache_read_input_tokens": prompt.cached,
        "output_tokens": output_tokens,
    }

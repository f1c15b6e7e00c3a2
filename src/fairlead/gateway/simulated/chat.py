"""OpenAI chat completions: `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fairlead.gateway.simulated.model import Answer, Block, Choice
from fairlead.gateway.simulated.prompt import (
    Call,
    Prompt,
    Tool,
    Turn,
    dicts,
    digest_of,
    string,
    text_of,
)
from fairlead.gateway.simulated.shape import Event, encode
from fairlead.gateway.simulated.tokens import pieces

_FINISH = {"stop": "stop", "sequence": "stop", "length": "length", "tool": "tool_calls"}
_TEXT = ("text", "input_text", "refusal")
Limit = Annotated[int, Meta(ge=1)] | None
Temperature = Annotated[float, Meta(ge=0, le=2)] | None


class ChatMessage(msgspec.Struct):
    """One message of a request."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct):
    """`stream_options` of a request."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a request that matter here; all others are accepted."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit = None
    max_completion_tokens: Limit = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    temperature: Temperature = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


class Chat:
    """Requests and answers of chat completions, byte for byte in the API's form."""

    family = "openai"
    request_type = ChatRequest

    def prompt(self, request: ChatRequest) -> Prompt:
        """Messages to turns; `developer` is `system`, and `function` a tool's result."""
        choice, forced = choice_of(request.tool_choice, "function")
        stop = request.stop or []
        return Prompt(
            model=request.model,
            turns=tuple(_turn(message) for message in request.messages),
            tools=_tools(request.tools),
            choice=choice,
            forced=forced,
            max_tokens=request.max_completion_tokens or request.max_tokens,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            temperature=request.temperature,
            schema=schema_of(request.response_format, "json_schema"),
            choices=request.n or 1,
        )

    def is_stream(self, request: ChatRequest) -> bool:
        """By `stream`."""
        return bool(request.stream)

    def plain(self, answer: Answer, request: ChatRequest) -> bytes:  # noqa: ARG002 - as the contract has it
        """A `chat.completion` object."""
        return encode(
            {
                "id": _id(answer),
                "object": "chat.completion",
                "created": answer.created,
                "model": answer.model,
                "choices": [_choice(index, one) for index, one in enumerate(answer.choices)],
                "usage": _usage(answer),
                "service_tier": "default",
                "system_fingerprint": "fp_simulated",
            }
        )

    def events(self, answer: Answer, request: ChatRequest) -> Iterator[Event]:
        """`chat.completion.chunk` objects, then `[DONE]`."""
        options = request.stream_options
        with_usage = bool(options and options.include_usage)
        head = _chunk_head(answer)
        tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
        for index, choice in enumerate(answer.choices):
            before = b'%s{"index":%d,"delta":' % (head, index)
            after = b',"logprobs":null,"finish_reason":null}' + tail
            for delta, paced in _deltas(choice):
                yield before + delta + after, paced
            finish = encode(_FINISH[choice.finish])
            yield before + b'{},"logprobs":null,"finish_reason":' + finish + b"}" + tail, False
        if with_usage:
            yield head + b'],"usage":' + encode(_usage(answer)) + b"}\n\n", False
        yield b"data: [DONE]\n\n", False


def choice_of(tool_choice: str | dict[str, Any] | None, nested: str = "") -> tuple[str, str | None]:
    """OpenAI's `tool_choice` as (`auto`, `none` or `required`, forced tool's name)."""
    if isinstance(tool_choice, dict):
        holder = tool_choice.get(nested) if nested else tool_choice
        name = holder.get("name") if isinstance(holder, dict) else None
        return ("required", name) if isinstance(name, str) else ("auto", None)
    return (tool_choice if tool_choice in {"none", "required"} else "auto"), None


def schema_of(response_format: dict[str, Any] | None, nested: str = "") -> Any:
    """The JSON schema that the text must meet, or None where plain text is asked for."""
    kind = (response_format or {}).get("type")
    if response_format is None or kind not in ("json_schema", "json_object"):
        return None
    if kind == "json_object":
        return {"const": {"simulated": True}}
    holder = response_format.get(nested) if nested else response_format
    return holder.get("schema", {}) if isinstance(holder, dict) else {}


def _turn(message: ChatMessage) -> Turn:
    role = {"developer": "system", "function": "tool"}.get(message.role, message.role)
    calls = [call.get("function") for call in message.tool_calls or ()]
    return Turn(
        role,
        text_of(message.content, _TEXT),
        tuple(Call(string(c.get("name")), string(c.get("arguments"))) for c in dicts(calls)),
        tuple(digest_of(part) for part in dicts(message.content) if part.get("type") not in _TEXT),
    )


def _tools(tools: list[dict[str, Any]] | None) -> tuple[Tool, ...]:
    functions = [tool.get("function") for tool in tools or () if tool.get("type") == "function"]
    return tuple(
        Tool(function["name"], function.get("parameters"))
        for function in dicts(functions)
        if isinstance(function.get("name"), str)
    )


def _id(answer: Answer) -> str:
    return f"chatcmpl-{answer.id[:32]}"


def _call(block: Block) -> dict[str, Any]:
    function = {"name": block.name, "arguments": block.text}
    return {"id": f"call_{block.id}", "type": "function", "function": function}


def _choice(index: int, choice: Choice) -> dict[str, Any]:
    texts = [block.text for block in choice.blocks if block.kind == "text"]
    calls = [_call(block) for block in choice.blocks if block.kind == "tool"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": None,
        "annotations": [],
    }
    if calls:
        message["tool_calls"] = calls
    finish = _FINISH[choice.finish]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


def _usage(answer: Answer) -> dict[str, Any]:
    prompt, output = answer.usage.prompt, answer.usage.output
    return {
        "prompt_tokens": prompt.prompt,
        "completion_tokens": output,
        "total_tokens": prompt.prompt + output,
        "prompt_tokens_details": {"cached_tokens": prompt.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chunk_head(answer: Answer) -> bytes:
    fields = {
        "id": _id(answer),
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    return b"data: " + encode(fields)[:-1] + b',"choices":['


def _deltas(choice: Choice) -> Iterator[Event]:
    speaks = any(block.kind == "text" for block in choice.blocks) or not choice.blocks
    yield encode({"role": "assistant", "content": "" if speaks else None, "refusal": None}), False
    number = 0
    for block in choice.blocks:
        if block.kind == "text":
            for piece in pieces(block.text):
                yield b'{"content":' + encode(piece) + b"}", True
            continue
        opening = _call(msgspec.structs.replace(block, text=""))
        yield encode({"tool_calls": [{"index": number, **opening}]}), False
        for piece in pieces(block.text):
            arguments = encode({"arguments": piece})
            yield b'{"tool_calls":[{"index":%d,"function":%s}]}' % (number, arguments), True
        number += 1

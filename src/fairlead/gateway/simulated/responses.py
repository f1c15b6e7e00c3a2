"""OpenAI responses: `POST /v1/responses`, the requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fairlead.errors import RequestError
from fairlead.gateway.simulated.chat import Limit, Temperature, choice_of, schema_of
from fairlead.gateway.simulated.model import Answer
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
from fairlead.gateway.simulated.response_events import ResponseWriter
from fairlead.gateway.simulated.shape import Event, InvalidFieldError, encode

_TEXT = ("text", "input_text", "output_text", "refusal")
_ROLES = {"developer": "system", "system": "system", "assistant": "assistant"}


class ResponsesRequest(msgspec.Struct):
    """The fields of a request that matter here; all others are accepted."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Limit = None
    temperature: Temperature = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    previous_response_id: str | None = None
    background: bool | None = None


class Responses:
    """Requests and answers of the responses API; nothing is stored between them."""

    family = "openai"
    request_type = ResponsesRequest

    def prompt(self, request: ResponsesRequest) -> Prompt:
        """Items to turns; consecutive items of the assistant are one of its turns."""
        _refuse_state(request)
        choice, forced = choice_of(request.tool_choice)
        system = [Turn("system", request.instructions)] if request.instructions else []
        return Prompt(
            model=request.model,
            turns=(*system, *_turns(request.input)),
            tools=_tools(request.tools),
            choice=choice,
            forced=forced,
            max_tokens=request.max_output_tokens,
            temperature=request.temperature,
            thinking=_shows_reasoning(request),
            schema=schema_of(_format(request)),
        )

    def is_stream(self, request: ResponsesRequest) -> bool:
        """By `stream`."""
        return bool(request.stream)

    def plain(self, answer: Answer, request: ResponsesRequest) -> bytes:
        """A `response` object."""
        return _writer(answer, request).plain()

    def events(self, answer: Answer, request: ResponsesRequest) -> Iterator[Event]:
        """Typed events with sequence numbers, from `response.created` to `response.completed`."""
        return _writer(answer, request).events()


def _writer(answer: Answer, request: ResponsesRequest) -> ResponseWriter:
    encrypted = "reasoning.encrypted_content" in (request.include or ())
    echo = {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": request.reasoning or {"effort": None, "summary": None},
        # Nothing is kept, whatever was asked for.
        "store": False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": request.text or {"format": {"type": "text"}},
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "metadata": request.metadata or {},
    }
    # Encoded now, so that what cannot be encoded is refused before the first event.
    encoded = {name: msgspec.Raw(encode(value)) for name, value in echo.items()}
    return ResponseWriter(answer, encoded, encrypted=encrypted)


def _refuse_state(request: ResponsesRequest) -> None:
    if request.previous_response_id is not None:
        raise RequestError(
            400,
            f"Previous response with id '{request.previous_response_id}' not found: "
            "the simulated upstream stores nothing.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    if request.background:
        problem = "the simulated upstream answers in the foreground only"
        raise InvalidFieldError("background", problem, "invalid_value")


def _format(request: ResponsesRequest) -> dict[str, Any] | None:
    wanted = (request.text or {}).get("format")
    return wanted if isinstance(wanted, dict) else None


def _shows_reasoning(request: ResponsesRequest) -> bool:
    summary = (request.reasoning or {}).get("summary")
    return bool(summary) or "reasoning.encrypted_content" in (request.include or ())


def _turns(given: str | list[dict[str, Any]]) -> Iterator[Turn]:
    if isinstance(given, str):
        yield Turn("user", given)
        return
    for item in given:
        kind = item.get("type", "message")
        if kind == "message":
            content = item.get("content")
            role = _ROLES.get(string(item.get("role")), "user")
            yield Turn(role, text_of(content, _TEXT), (), _attachments(content))
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments", item.get("input"))
            yield Turn("assistant", "", (Call(string(item.get("name")), string(arguments)),))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            output = item.get("output")
            text = text_of(output, _TEXT) if isinstance(output, list) else string(output)
            yield Turn("tool", text, (), _attachments(output))
        elif kind == "reasoning":
            yield Turn("assistant")


def _attachments(content: object) -> tuple[bytes, ...]:
    return tuple(digest_of(part) for part in dicts(content) if part.get("type") not in _TEXT)


def _tools(tools: list[dict[str, Any]] | None) -> tuple[Tool, ...]:
    return tuple(
        Tool(tool["name"], tool.get("parameters"))
        for tool in tools or ()
        if tool.get("type") == "function" and isinstance(tool.get("name"), str)
    )

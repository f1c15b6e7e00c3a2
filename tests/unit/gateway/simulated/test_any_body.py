"""Whatever the body: an answer or an error of the caller, never a failure of the server."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.gateway.simulated import SimulatedOptions
from fairlead.gateway.simulated.app import SimulatedApp

PATHS = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/x",
    "/v1/other",
]
FIELDS = [
    "model", "messages", "input", "instructions", "stream", "n", "stop", "stop_sequences",
    "temperature", "tools", "tool_choice", "response_format", "text", "format", "schema",
    "json_schema", "output_config", "thinking", "type", "role", "content", "name", "function",
    "parameters", "input_schema", "arguments", "tool_calls", "call_id", "output", "reasoning",
    "summary", "include", "max_tokens", "max_completion_tokens", "max_output_tokens",
    "stream_options", "include_usage", "dimensions", "encoding_format", "system", "metadata",
    "properties", "required", "items", "enum", "minItems", "$ref",
]  # fmt: skip
WORDS = [
    "user", "assistant", "system", "tool", "function", "text", "input_text", "tool_use",
    "tool_result", "message", "function_call", "function_call_output", "object", "array",
    "string", "auto", "any", "none", "required", "json_schema", "json_object", "enabled",
    "adaptive", "base64", "float", "m", "#",
]  # fmt: skip

TEXT = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-3, 40) | st.integers() | TEXT
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)


def objects(inner: Any) -> Any:
    return st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)


JSON = st.recursive(SCALARS, objects, max_leaves=25)
LIKELY = st.fixed_dictionaries(
    {
        "model": TEXT,
        "max_tokens": st.integers(1, 50),
        "input": TEXT | st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON), max_size=3),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "tool"]), "content": TEXT | JSON},
                optional={"tool_calls": JSON},
            ),
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "stream": st.booleans(),
        "n": st.integers(1, 4),
        "tools": st.lists(
            st.fixed_dictionaries(
                {"type": st.just("function"), "name": TEXT},
                optional={"function": JSON, "parameters": JSON, "input_schema": JSON},
            ),
            max_size=3,
        ),
        "tool_choice": JSON,
        "response_format": JSON,
        "output_config": JSON,
        "text": JSON,
        "thinking": st.just({"type": "adaptive"}),
        "reasoning": JSON,
        "include": st.just(["reasoning.encrypted_content"]),
    },
)


def encoded(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return b"{}"


BODIES = st.binary(max_size=40) | JSON.map(encoded) | LIKELY.map(encoded)


async def ask(path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    options = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=0, answer_tokens=5)
    sent: list[Any] = []
    waiting = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    method = "GET" if path.startswith("/v1/models") else "POST"
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await SimulatedApp(options)(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PATHS), BODIES, st.booleans())
async def test_any_body_is_answered_or_refused(path: str, body: bytes, anthropic: bool) -> None:
    headers = [(b"anthropic-version", b"2023-06-01")] if anthropic else []
    status, answer = await ask(path, body, headers)
    assert status in {200, 400, 404}
    if not answer.startswith((b"data: ", b"event: ")):
        msgspec.json.decode(answer)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
async def test_any_control_is_obeyed_or_refused(name: str, value: str) -> None:
    headers = [
        (f"x-simulate-{name}".encode("latin-1", "replace"), value.encode("latin-1", "replace"))
    ]
    status, _ = await ask("/v1/models", b"", headers)
    assert status == 400

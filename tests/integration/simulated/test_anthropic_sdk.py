"""The official Anthropic SDK against the simulated upstream."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

TOOL: Any = {
    "name": "read_file",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "range": {"type": "array", "minItems": 2}},
        "required": ["path", "range"],
    },
}
INPUT = {"path": "simulated", "range": ["simulated", "simulated"]}
USER: Any = [{"role": "user", "content": "hello"}]
ASK_TOOL: Any = [{"role": "user", "content": "use read_file"}]
MODEL = "claude-sonnet"


async def test_message(anthropic_client: anthropic.AsyncAnthropic) -> None:
    message = await anthropic_client.messages.create(model=MODEL, max_tokens=500, messages=USER)
    block = message.content[0]
    assert message.model == "simulated-claude-sonnet"
    assert (message.stop_reason, block.type) == ("end_turn", "text")
    assert block.text.startswith("Simulated answer")
    assert message.usage.output_tokens == 40


async def test_limits(anthropic_client: anthropic.AsyncAnthropic) -> None:
    cut = await anthropic_client.messages.create(model=MODEL, max_tokens=3, messages=USER)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    stopped = await anthropic_client.messages.create(
        model=MODEL, max_tokens=500, messages=USER, stop_sequences=["model"]
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "model")


async def test_limits_of_streams(anthropic_client: anthropic.AsyncAnthropic) -> None:
    async with anthropic_client.messages.stream(
        model=MODEL, max_tokens=500, messages=USER, stop_sequences=["model"]
    ) as stream:
        stopped = await stream.get_final_message()
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "model")
    async with anthropic_client.messages.stream(model=MODEL, max_tokens=3, messages=USER) as stream:
        cut = await stream.get_final_message()
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)


async def test_stream_events_in_order(anthropic_client: anthropic.AsyncAnthropic) -> None:
    stream = await anthropic_client.messages.create(
        model=MODEL, max_tokens=500, messages=USER, stream=True
    )
    kinds = [event.type async for event in stream]
    # The SDK keeps pings to itself.
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 40,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_stream_helper_with_thinking(anthropic_client: anthropic.AsyncAnthropic) -> None:
    async with anthropic_client.messages.stream(
        model=MODEL,
        max_tokens=5000,
        messages=USER,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    thinking, text = message.content
    assert {"thinking", "signature", "text"} <= set(kinds)
    assert thinking.type == "thinking"
    assert thinking.thinking.startswith("Simulated thinking")
    assert thinking.signature
    assert text.type == "text"
    plain = await anthropic_client.messages.create(
        model=MODEL, max_tokens=5000, messages=USER, thinking={"type": "adaptive"}
    )
    assert plain.content[0].to_dict() == thinking.to_dict()


async def test_omitted_thinking_leaves_its_signature(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    message = await anthropic_client.messages.create(
        model=MODEL,
        max_tokens=5000,
        messages=USER,
        thinking={"type": "adaptive", "display": "omitted"},
    )
    thinking = message.content[0]
    assert thinking.type == "thinking"
    assert (thinking.thinking, bool(thinking.signature)) == ("", True)


async def test_tool_round_trip_ends(anthropic_client: anthropic.AsyncAnthropic) -> None:
    async with anthropic_client.messages.stream(
        model=MODEL, max_tokens=500, messages=ASK_TOOL, tools=[TOOL]
    ) as stream:
        kinds = [event.type async for event in stream]
        first = await stream.get_final_message()
    call = first.content[0]
    assert "input_json" in kinds
    assert (first.stop_reason, call.type) == ("tool_use", "tool_use")
    assert call.input == INPUT
    plain = await anthropic_client.messages.create(
        model=MODEL, max_tokens=500, messages=ASK_TOOL, tools=[TOOL]
    )
    assert plain.content[0].to_dict() == call.to_dict()
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "text of the file"}
    again: Any = [
        *ASK_TOOL,
        {"role": "assistant", "content": [call.to_dict()]},
        {"role": "user", "content": [result, {"type": "text", "text": "use read_file"}]},
    ]
    second = await anthropic_client.messages.create(
        model=MODEL, max_tokens=500, messages=again, tools=[TOOL], tool_choice={"type": "any"}
    )
    assert (second.stop_reason, second.content[0].type) == ("end_turn", "text")


async def test_a_forced_tool(anthropic_client: anthropic.AsyncAnthropic) -> None:
    message = await anthropic_client.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=USER,
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "read_file"},
    )
    assert message.stop_reason == "tool_use"


async def test_cache_figures_add_up(anthropic_client: anthropic.AsyncAnthropic) -> None:
    figures = []
    for _ in range(2):
        usage = (
            await anthropic_client.messages.create(
                model=MODEL, max_tokens=5, system="rule " * 1000, messages=USER
            )
        ).usage
        figures.append((usage.cache_creation_input_tokens, usage.cache_read_input_tokens))
    assert figures == [(1024, 0), (0, 1024)]
    counted = await anthropic_client.messages.count_tokens(
        model=MODEL, system="rule " * 1000, messages=USER
    )
    assert counted.input_tokens == usage.input_tokens + 1024


async def test_models(anthropic_client: anthropic.AsyncAnthropic) -> None:
    assert [model.id async for model in anthropic_client.models.list()] == [
        "simulated",
        "sim-large",
    ]
    assert (await anthropic_client.models.retrieve("simulated")).display_name.startswith(
        "Simulated"
    )
    with pytest.raises(anthropic.NotFoundError):
        await anthropic_client.models.retrieve("claude")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
async def test_errors(anthropic_client: anthropic.AsyncAnthropic, status: int, kind: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        await anthropic_client.messages.create(
            model=MODEL,
            max_tokens=5,
            messages=USER,
            extra_headers={"x-simulate-status": str(status)},
        )
    body: Any = caught.value.body
    assert (caught.value.status_code, body["error"]["type"]) == (status, kind)
    assert caught.value.request_id == body["request_id"]

"""The official Anthropic SDK through a node, exactly as against the upstream directly."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest

from support.nodeprocess import NodeProcess
from support.sdk import Pair, collect, fields

pytestmark = pytest.mark.asyncio(loop_scope="module")

Client = anthropic.AsyncAnthropic
Clients = Pair[anthropic.AsyncAnthropic]
MODEL = "claude-sonnet"
USER: Any = [{"role": "user", "content": "Grüße, 世界 \U0001f44b"}]
ASK_TOOL: Any = [{"role": "user", "content": "use read_file"}]
TOOL: Any = {
    "name": "read_file",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
ASKED: dict[str, Any] = {"model": MODEL, "max_tokens": 5000, "messages": USER}
# The SDK has no argument for it any more, the API has.
EXACT: dict[str, Any] = {"extra_body": {"temperature": 0}}
SLOW = {"x-simulate-tokens-per-second": "20", "x-simulate-events": "10000"}
NEVER = {"x-simulate-ttft": "3600"}


async def test_message(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        raw = await client.messages.with_raw_response.create(**ASKED, system="Be short.")
        message = await raw.parse()
        return message, fields(raw), message._request_id

    message, headers, request_id = await anthropic_pair.same(scenario)
    assert message["content"][0]["text"].startswith("Simulated answer")
    assert headers["x-fairlead-simulated"] == "true"
    assert request_id.startswith("req_")


async def test_thinking_and_its_signature(anthropic_pair: Clients) -> None:
    message = await anthropic_pair.same(
        lambda client: client.messages.create(**ASKED, thinking=THINKING)
    )
    thinking, text = message["content"]
    assert (thinking["type"], text["type"]) == ("thinking", "text")
    assert thinking["signature"]


async def test_raw_stream(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        stream = await client.messages.create(**ASKED, stream=True)
        return await collect(stream), fields(stream.response)

    events, _ = await anthropic_pair.same(scenario)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]


async def test_stream_helper_with_thinking_and_tools(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        async with client.messages.stream(
            model=MODEL, max_tokens=5000, messages=ASK_TOOL, tools=[TOOL], thinking=THINKING
        ) as stream:
            events = [repr(event) async for event in stream]
            return events, await stream.get_final_message()

    events, message = await anthropic_pair.same(scenario)
    kinds = [block["type"] for block in message["content"]]
    assert kinds == ["thinking", "tool_use"]
    assert message["content"][0]["signature"]
    assert any("signature" in event for event in events)
    assert any("input_json" in event for event in events)


async def test_tool_round_trip_with_thinking(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        first = await client.messages.create(
            model=MODEL, max_tokens=5000, messages=ASK_TOOL, tools=[TOOL], thinking=THINKING
        )
        call = first.content[-1]
        assert call.type == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "text of the file"}
        again: Any = [
            *ASK_TOOL,
            {"role": "assistant", "content": [block.to_dict() for block in first.content]},
            {"role": "user", "content": [result]},
        ]
        second = await client.messages.create(
            model=MODEL, max_tokens=5000, messages=again, tools=[TOOL], thinking=THINKING
        )
        return first, second

    first, second = await anthropic_pair.same(scenario)
    assert first["stop_reason"] == "tool_use"
    assert second["stop_reason"] == "end_turn"


async def test_beta_messages_have_a_query(anthropic_pair: Clients) -> None:
    message = await anthropic_pair.same(
        lambda client: client.beta.messages.create(
            **ASKED, betas=["interleaved-thinking-2025-05-14"]
        )
    )
    assert message["role"] == "assistant"


async def test_count_tokens(anthropic_pair: Clients) -> None:
    counted = await anthropic_pair.same(
        lambda client: client.messages.count_tokens(
            model=MODEL, messages=USER, system="rule " * 500, tools=[TOOL]
        )
    )
    assert counted["input_tokens"] > 500


async def test_models(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        return await collect(client.models.list()), await client.models.retrieve("simulated")

    listed, one = await anthropic_pair.same(scenario)
    assert [model["id"] for model in listed] == ["simulated", "sim-large"]
    assert one["type"] == "model"


async def test_lines_of_a_stream(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        async with client.messages.with_streaming_response.create(**ASKED, stream=True) as raw:
            lines = [line async for line in raw.iter_lines()]
            return lines, fields(raw)

    lines, _ = await anthropic_pair.same(scenario)
    assert lines[0] == "event: message_start"
    assert "event: ping" in lines
    assert json.loads(lines[-2].removeprefix("data: ")) == {"type": "message_stop"}


async def test_the_synchronous_client(anthropic_pair: Clients) -> None:
    def ask(base_url: str) -> list[Any]:
        with anthropic.Anthropic(base_url=base_url, api_key="x", max_retries=0) as client:
            plain = client.messages.create(**ASKED)
            return [plain, *client.messages.create(**ASKED, stream=True)]

    async def scenario(client: Client) -> Any:
        return await asyncio.to_thread(ask, str(client.base_url))

    assert len(await anthropic_pair.same(scenario)) > 40


async def test_a_time_out(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        with pytest.raises(anthropic.APITimeoutError) as caught:
            await client.with_options(timeout=0.2).messages.create(**ASKED, extra_headers=NEVER)
        return str(caught.value)

    cancelled = anthropic_pair.upstream.statistics().cancelled
    await anthropic_pair.same(scenario)
    assert anthropic_pair.upstream.statistics().cancelled == cancelled + 2


async def test_a_stream_that_is_closed(anthropic_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        async with client.messages.stream(**ASKED, extra_headers=SLOW) as stream:
            return [repr(await anext(stream)) for _ in range(6)]

    cancelled = anthropic_pair.upstream.statistics().cancelled
    await anthropic_pair.same(scenario)
    assert anthropic_pair.upstream.statistics().cancelled == cancelled + 2


@pytest.fixture
def cached(simulated_node: NodeProcess) -> Client:
    """A client that lets the node cache."""
    return anthropic.AsyncAnthropic(base_url=simulated_node.url, api_key="x", max_retries=0)


async def test_cached_answers_work_with_the_sdk(anthropic_pair: Clients, cached: Client) -> None:
    async def everything() -> list[Any]:
        async with cached.messages.stream(
            **ASKED, **EXACT, thinking=THINKING, tools=[TOOL]
        ) as stream:
            answers: list[Any] = [*await collect(stream), await stream.get_final_message()]
        answers.append(await cached.messages.create(**ASKED, **EXACT))
        answers.append(await cached.messages.count_tokens(model=MODEL, messages=USER))
        answers.append(await collect(cached.models.list()))
        return [repr(answer) for answer in answers]

    async with cached:
        asked = anthropic_pair.asked
        first = await everything()
        assert anthropic_pair.asked == asked + 4
        # Not even ids differ now.
        assert await everything() == first
        assert anthropic_pair.asked == asked + 4
        raw = await cached.messages.with_raw_response.create(**ASKED, **EXACT)
        assert raw.headers["cache-status"] == "fairlead; hit"
        # The upstream has no part in this answer: it has the node's request id only.
        assert "request-id" not in raw.headers
        assert raw.headers["x-request-id"]

"""The official OpenAI SDK through a node, exactly as against the upstream directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import openai
import pytest

from support.nodeprocess import NodeProcess
from support.sdk import Pair, collect, fields, normal
from support.wire import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Client = openai.AsyncOpenAI
Clients = Pair[openai.AsyncOpenAI]
USER: Any = [{"role": "user", "content": "Grüße, 世界 \U0001f44b"}]
ASK_TOOL: Any = [{"role": "user", "content": "call get_weather please"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS}
CHAT_TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": PARAMETERS},
}
SLOW = {"x-simulate-tokens-per-second": "20", "x-simulate-events": "10000"}
NEVER = {"x-simulate-ttft": "3600"}


async def test_chat(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4", messages=USER)
        return raw.parse(), fields(raw)

    answer, headers = await openai_pair.same(scenario)
    assert answer["choices"][0]["message"]["content"].startswith("Simulated answer")
    assert headers["x-fairlead-simulated"] == "true"


async def test_chat_stream(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        stream = await client.chat.completions.create(
            model="gpt-4", messages=USER, stream=True, stream_options={"include_usage": True}
        )
        return await collect(stream), fields(stream.response)

    chunks, _ = await openai_pair.same(scenario)
    assert chunks[-1]["usage"]["completion_tokens"] == 40
    assert len(chunks) > 40


async def test_chat_stream_helper_with_tools(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        async with client.chat.completions.stream(
            model="gpt-4", messages=ASK_TOOL, tools=[CHAT_TOOL]
        ) as stream:
            kinds = [event.type async for event in stream]
            return kinds, await stream.get_final_completion()

    kinds, final = await openai_pair.same(scenario)
    assert "tool_calls.function.arguments.done" in kinds
    assert final["choices"][0]["finish_reason"] == "tool_calls"


async def test_chat_tool_round_trip(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        first = await client.chat.completions.create(
            model="gpt-4", messages=ASK_TOOL, tools=[CHAT_TOOL]
        )
        message = first.choices[0].message
        assert message.tool_calls is not None
        call: Any = message.tool_calls[0]
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        again: Any = [*ASK_TOOL, message.to_dict(), result]
        second = await client.chat.completions.create(
            model="gpt-4", messages=again, tools=[CHAT_TOOL]
        )
        return first, second

    first, second = await openai_pair.same(scenario)
    arguments = first["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"city": "simulated"}
    assert second["choices"][0]["finish_reason"] == "stop"


async def test_responses(openai_pair: Clients) -> None:
    answer = await openai_pair.same(
        lambda client: client.responses.create(model="gpt-5", input="hello", instructions="short")
    )
    assert answer["status"] == "completed"


async def test_responses_stream_with_reasoning_and_tools(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        async with client.responses.stream(
            model="gpt-5", input=ASK_TOOL, tools=[TOOL], reasoning={"summary": "auto"}
        ) as stream:
            events = await collect(stream)
            return events, await stream.get_final_response()

    events, final = await openai_pair.same(scenario)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [item["type"] for item in final["output"]] == ["reasoning", "function_call"]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_embeddings(openai_pair: Clients, encoding: Any) -> None:
    chosen = {} if encoding is None else {"encoding_format": encoding}
    answer = await openai_pair.same(
        lambda client: client.embeddings.create(
            model="text-embedding-3-small", input=["a", "b"], dimensions=64, **chosen
        )
    )
    assert len(answer["data"]) == 2


async def test_models(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        return await collect(client.models.list()), await client.models.retrieve("sim-large")

    listed, one = await openai_pair.same(scenario)
    assert [model["id"] for model in listed] == ["simulated", "sim-large"]
    assert one["id"] == "sim-large"


async def test_lines_of_a_stream(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        async with client.chat.completions.with_streaming_response.create(
            model="gpt-4", messages=USER, stream=True
        ) as raw:
            lines = [normal_line(line) async for line in raw.iter_lines()]
            return lines, fields(raw)

    lines, headers = await openai_pair.same(scenario)
    assert lines[-2:] == ["data: [DONE]", ""]
    assert headers["content-type"] == "text/event-stream; charset=utf-8"


def normal_line(line: str) -> str:
    """A line of a stream, its JSON without ids and moments."""
    if not line.startswith("data: {"):
        return line
    return "data: " + json.dumps(normal(json.loads(line.removeprefix("data: "))))


async def test_the_synchronous_client(openai_pair: Clients) -> None:
    def ask(base_url: str) -> list[Any]:
        with openai.OpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
            plain = client.chat.completions.create(model="gpt-4", messages=USER)
            stream = client.chat.completions.create(model="gpt-4", messages=USER, stream=True)
            return [plain, *stream]

    async def scenario(client: Client) -> Any:
        return await asyncio.to_thread(ask, str(client.base_url))

    assert len(await openai_pair.same(scenario)) > 40


async def test_a_time_out(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        with pytest.raises(openai.APITimeoutError) as caught:
            await client.with_options(timeout=0.2).chat.completions.create(
                model="gpt-4", messages=USER, extra_headers=NEVER
            )
        return str(caught.value)

    cancelled = openai_pair.upstream.statistics().cancelled
    await openai_pair.same(scenario)
    assert openai_pair.upstream.statistics().cancelled == cancelled + 2


async def test_a_stream_that_is_closed(openai_pair: Clients) -> None:
    async def scenario(client: Client) -> Any:
        stream = await client.responses.create(
            model="gpt-5", input="hello", stream=True, extra_headers=SLOW
        )
        begun = [await anext(stream) for _ in range(6)]
        await stream.close()
        return begun

    cancelled = openai_pair.upstream.statistics().cancelled
    begun = await openai_pair.same(scenario)
    assert begun[0]["type"] == "response.created"
    assert openai_pair.upstream.statistics().cancelled == cancelled + 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_task_that_is_cancelled(openai_pair: Clients, stream: bool) -> None:
    async def scenario(client: Client) -> Any:
        asking = asyncio.create_task(
            client.chat.completions.create(
                model="gpt-4", messages=USER, stream=stream, extra_headers=NEVER
            )
        )
        await until(lambda: openai_pair.upstream.statistics().active == 1, "it has arrived")
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    cancelled = openai_pair.upstream.statistics().cancelled
    await openai_pair.same(scenario)
    assert openai_pair.upstream.statistics().cancelled == cancelled + 2


@pytest.fixture
def cached(simulated_node: NodeProcess) -> Client:
    """A client that lets the node cache."""
    return openai.AsyncOpenAI(base_url=f"{simulated_node.url}/v1", api_key="x", max_retries=0)


async def test_cached_answers_work_with_the_sdk(openai_pair: Clients, cached: Client) -> None:
    async def everything() -> list[Any]:
        async with cached.chat.completions.stream(
            model="gpt-4", messages=ASK_TOOL, tools=[CHAT_TOOL], temperature=0
        ) as chat:
            answers: list[Any] = [*await collect(chat), await chat.get_final_completion()]
        async with cached.responses.stream(model="gpt-5", input="hi", temperature=0) as responses:
            answers += [*await collect(responses), await responses.get_final_response()]
        answers.append(
            await cached.chat.completions.create(model="gpt-4", messages=USER, temperature=0)
        )
        answers.append(await cached.embeddings.create(model="m", input="cached"))
        answers.append(await collect(cached.models.list()))
        return [repr(answer) for answer in answers]

    async with cached:
        asked = openai_pair.asked
        first = await everything()
        assert openai_pair.asked == asked + 5
        # Not even ids and moments differ now.
        assert await everything() == first
        assert openai_pair.asked == asked + 5
        raw = await cached.embeddings.with_raw_response.create(model="m", input="cached")
        assert raw.headers["cache-status"] == "fairlead; hit"
        assert "age" in raw.headers

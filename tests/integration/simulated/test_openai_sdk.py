"""The official OpenAI SDK against the simulated upstream."""

from __future__ import annotations

import json
import math
from typing import Any

import openai
import pytest
from pydantic import BaseModel

CHAT_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}
TOOL: Any = {"type": "function", **CHAT_TOOL["function"]}
ARGUMENTS = {"city": "simulated", "days": 2}
USER: Any = [{"role": "user", "content": "hello"}]
ASK_TOOL: Any = [{"role": "user", "content": "call get_weather please"}]


class City(BaseModel):
    name: str
    people: int


async def test_chat(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.chat.completions.create(model="gpt-4", messages=USER)
    choice = answer.choices[0]
    assert answer.model == "simulated-gpt-4"
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert (choice.message.content or "").startswith("Simulated answer")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 40
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 40


async def test_chat_stream_with_usage(openai_client: openai.AsyncOpenAI) -> None:
    plain = await openai_client.chat.completions.create(model="gpt-4", messages=USER)
    stream = await openai_client.chat.completions.create(
        model="gpt-4", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 40


async def test_chat_stream_helper_with_tools(openai_client: openai.AsyncOpenAI) -> None:
    async with openai_client.chat.completions.stream(
        model="gpt-4", messages=ASK_TOOL, tools=[CHAT_TOOL]
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    choice = final.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert json.loads(choice.message.tool_calls[0].function.arguments) == ARGUMENTS


async def test_chat_tool_round_trip_ends(openai_client: openai.AsyncOpenAI) -> None:
    first = await openai_client.chat.completions.create(
        model="gpt-4", messages=ASK_TOOL, tools=[CHAT_TOOL]
    )
    message = first.choices[0].message
    assert message.tool_calls is not None
    call: Any = message.tool_calls[0]
    assert message.content is None
    assert json.loads(call.function.arguments) == ARGUMENTS
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    second = await openai_client.chat.completions.create(
        model="gpt-4",
        messages=[*ASK_TOOL, message.to_dict(), result],
        tools=[CHAT_TOOL],
        tool_choice="required",
    )
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.tool_calls is None


async def test_chat_choices_limit_and_stop(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.chat.completions.create(
        model="gpt-4", messages=USER, n=3, max_completion_tokens=6
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    stopped = await openai_client.chat.completions.create(
        model="gpt-4", messages=USER, stop=["model"]
    )
    assert (stopped.choices[0].message.content or "").endswith(": no ")
    stream = await openai_client.chat.completions.create(
        model="gpt-4", messages=USER, n=2, stream=True
    )
    assert {c.choices[0].index async for c in stream} == {0, 1}


async def test_chat_structured_output(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.chat.completions.parse(
        model="gpt-4", messages=USER, response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="simulated", people=1)


async def test_cached_tokens_grow_with_the_conversation(openai_client: openai.AsyncOpenAI) -> None:
    long: Any = [{"role": "system", "content": "rule " * 1000}, *USER]
    cached = []
    for extra in ([], [{"role": "assistant", "content": "hi"}, *USER]):
        answer = await openai_client.chat.completions.create(model="m", messages=[*long, *extra])
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        cached.append(answer.usage.prompt_tokens_details.cached_tokens)
    assert cached == [0, 1024]


async def test_responses(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.responses.create(model="gpt-5", input="hello")
    assert (answer.model, answer.status) == ("simulated-gpt-5", "completed")
    assert answer.output_text.startswith("Simulated answer")
    assert answer.usage is not None
    assert answer.usage.output_tokens == 40
    cut = await openai_client.responses.create(model="gpt-5", input="hello", max_output_tokens=5)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


async def test_responses_stream_helper(openai_client: openai.AsyncOpenAI) -> None:
    async with openai_client.responses.stream(
        model="gpt-5", input="hello", reasoning={"summary": "auto"}
    ) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert "response.reasoning_summary_text.delta" in kinds
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert final.output_text == text
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 10


async def test_responses_tool_round_trip_ends(openai_client: openai.AsyncOpenAI) -> None:
    question: Any = {"role": "user", "content": "call get_weather please"}
    async with openai_client.responses.stream(
        model="gpt-5", input=[question], tools=[TOOL]
    ) as stream:
        kinds = [event.type async for event in stream]
        first = await stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    call: Any = first.output[0]
    assert json.loads(call.arguments) == ARGUMENTS
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    again: Any = [question, call.to_dict(), result]
    second = await openai_client.responses.create(model="gpt-5", input=again, tools=[TOOL])
    assert [item.type for item in second.output] == ["message"]


async def test_responses_structured_output(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.responses.parse(model="gpt-5", input="hello", text_format=City)
    assert answer.output_parsed == City(name="simulated", people=1)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings(openai_client: openai.AsyncOpenAI, encoding: Any) -> None:
    answer = await openai_client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b", "a"], dimensions=64
    )
    vectors = [item.embedding for item in answer.data]
    assert [len(vector) for vector in vectors] == [64, 64, 64]
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(sum(value * value for value in vectors[0]), 1.0, rel_tol=1e-5)
    # The SDK asks for base64 by itself; asked for by name it decodes nothing.
    raw = await openai_client.embeddings.create(
        model="text-embedding-3-small", input="a", dimensions=64, encoding_format=encoding
    )
    assert isinstance(raw.data[0].embedding, list if encoding == "float" else str)
    if encoding == "float":
        assert raw.data[0].embedding == vectors[0]
    numbers = await openai_client.embeddings.create(model="m", input=[[1, 2], [3]])
    assert len(numbers.data[1].embedding) == 1536
    assert numbers.usage.prompt_tokens == 3


async def test_models(openai_client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in openai_client.models.list()] == ["simulated", "sim-large"]
    assert (await openai_client.models.retrieve("sim-large")).owned_by == "simulated"
    with pytest.raises(openai.NotFoundError) as caught:
        await openai_client.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_errors(
    openai_client: openai.AsyncOpenAI, status: int, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error, match="Simulated error") as caught:
        await openai_client.responses.create(
            model="m", input="x", extra_headers={"x-simulate-status": str(status)}
        )
    assert caught.value.request_id
    assert caught.value.response.headers["x-fairlead-simulated"] == "true"


async def test_a_bad_request_names_the_parameter(openai_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await openai_client.chat.completions.create(model="m", messages=[])
    assert caught.value.param == "messages"


async def test_a_stream_that_breaks(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(
        model="m", messages=USER, stream=True, extra_headers={"x-simulate-break-after": "5"}
    )
    seen = []

    async def read() -> None:
        async for chunk in stream:
            seen.append(chunk)  # noqa: PERF401 - what came before the break counts

    with pytest.raises(openai.APIConnectionError):
        await read()
    assert len(seen) == 5

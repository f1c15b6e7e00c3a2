"""The official SDKs through a gateway that captures, on sockets: an answer that is sent again in
the SDK's own way is recognised as the one that was given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from fairlead.gateway.base import Upstream
from fairlead.gateway.capture.base import CapturedTurn
from fairlead.gateway.capture.recorder import TurnCapture
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.lean import LeanLeg
from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from integration.edge.server import EdgeServer
from support.captures import Turns, digests
from support.node import servers_of
from support.wire import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
}
ASK: Any = {"role": "user", "content": "use read_file"}
MORE: Any = {"role": "user", "content": "Grüße, 世界"}
CHAT_TOOL: Any = {
    "type": "function",
    "function": {"name": "read_file", "parameters": PARAMETERS},
}
TOOL: Any = {"type": "function", "name": "read_file", "parameters": PARAMETERS}
CLAUDE_TOOL: Any = {"name": "read_file", "input_schema": PARAMETERS}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
CLAUDE: Any = {"model": "claude-sonnet", "max_tokens": 5000, "tools": [CLAUDE_TOOL]}


class CapturingServer(EdgeServer):
    """A gateway that captures, listening."""

    def __init__(self, *upstreams: Upstream) -> None:
        super().__init__(*upstreams)
        self.sink = Turns()
        self.capture = TurnCapture(self.sink)
        self.gateway = Gateway(
            upstreams,
            self.cache,
            self.records.append,
            balancer=SessionAwareLoadBalancer(servers_of(upstreams)),
            capture=self.capture,
        )

    async def _open(self) -> None:
        await self.capture.open()
        await super()._open()

    async def _close(self) -> None:
        await super()._close()
        await self.capture.close()

    async def turns(self) -> list[CapturedTurn]:
        """What was captured since it was asked last."""
        await until(lambda: self.gateway.active == 0, "the requests end")
        await self.capture.flush()
        taken, self.sink.turns = self.sink.turns, []
        assert self.capture.statistics().dropped == {}
        return taken


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[CapturingServer]:
    options = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=0)
    async with SimulatedServer(options) as simulated:
        upstream = Upstream(
            name="simulated",
            shape="simulated",
            base_path="",
            models=("*",),
            keys=(),
            credentials="upstream",
            leg=LeanLeg(LegOptions(name="simulated", base_url=simulated.url)),
        )
        async with CapturingServer(upstream) as started:
            yield started


@pytest_asyncio.fixture(loop_scope="module")
async def gpt(server: CapturingServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def claude(server: CapturingServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k") as client:
        yield client


def check(turns: Sequence[CapturedTurn], asked: int = 1) -> None:
    """Each prompt begins with the prompt before it and its answer; there are `asked` more then."""
    assert len(turns) >= 2
    for before, after in pairwise(turns):
        assert not before.partial
        assert before.answer
        known = digests([*before.messages, *before.answer])
        assert digests(after.messages)[: len(known)] == known
        assert len(after.messages) == len(known) + asked


@pytest.mark.parametrize("as_model", [True, False], ids=["as-objects", "as-dumped"])
async def test_chat(server: CapturingServer, gpt: openai.AsyncOpenAI, as_model: bool) -> None:
    messages: list[Any] = [ASK]
    for _ in range(3):
        answer = await gpt.chat.completions.create(
            model="gpt-4", messages=messages, tools=[CHAT_TOOL]
        )
        message = answer.choices[0].message
        messages.append(message if as_model else message.model_dump())
        messages.append(chat_result(message))
    check(await server.turns())


async def test_chat_streamed(server: CapturingServer, gpt: openai.AsyncOpenAI) -> None:
    messages: list[Any] = [ASK]
    for _ in range(3):
        async with gpt.chat.completions.stream(
            model="gpt-4", messages=messages, tools=[CHAT_TOOL]
        ) as stream:
            answer = await stream.get_final_completion()
        messages += [answer.choices[0].message, chat_result(answer.choices[0].message)]
    check(await server.turns())


def chat_result(message: Any) -> Any:
    if not message.tool_calls:
        return MORE
    return {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "a file"}


@pytest.mark.parametrize("with_reasoning", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
async def test_responses(
    server: CapturingServer, gpt: openai.AsyncOpenAI, streamed: bool, with_reasoning: bool
) -> None:
    items: list[Any] = [ASK]
    given: Any = {
        "model": "gpt-5",
        "tools": [TOOL],
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    for _ in range(3):
        if streamed:
            async with gpt.responses.stream(input=items, **given) as stream:
                answer: Any = await stream.get_final_response()
        else:
            answer = await gpt.responses.create(input=items, **given)
        kinds = {item.type for item in answer.output}
        items += [item for item in answer.output if with_reasoning or item.type != "reasoning"]
        calls = [item for item in answer.output if item.type == "function_call"]
        items.append(
            {"type": "function_call_output", "call_id": calls[0].call_id, "output": "a file"}
            if calls
            else MORE
        )
        assert "reasoning" in kinds
    check(await server.turns())


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("with_thinking", [True, False])
async def test_messages(
    server: CapturingServer,
    claude: anthropic.AsyncAnthropic,
    streamed: bool,
    with_thinking: bool,
) -> None:
    messages: list[Any] = [ASK]
    for number in range(3):
        marked = [*messages[:-1], with_mark(messages[-1])]
        if streamed:
            async with claude.messages.stream(
                messages=marked, thinking=THINKING, **CLAUDE
            ) as stream:
                answer: Any = await stream.get_final_message()
        else:
            answer = await claude.messages.create(messages=marked, thinking=THINKING, **CLAUDE)
        assert answer.content[0].type == "thinking"
        blocks = [block for block in answer.content if with_thinking or block.type != "thinking"]
        content = blocks if number else [block.model_dump() for block in blocks]
        messages += [{"role": "assistant", "content": content}, claude_result(answer)]
    check(await server.turns())


def with_mark(message: Any) -> Any:
    """The message as clients send the newest one: its end is a cache mark."""
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    last = {**blocks[-1], "cache_control": {"type": "ephemeral"}}
    return {**message, "content": [*blocks[:-1], last]}


def claude_result(answer: Any) -> Any:
    uses = [block for block in answer.content if block.type == "tool_use"]
    if not uses:
        return MORE
    result = {"type": "tool_result", "tool_use_id": uses[0].id, "content": "a file"}
    return {"role": "user", "content": [result]}

"""Sessions stay on the server that holds their prompt, however they are named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.fleet import CHAT, MESSAGES, RESPONSES, asking, config, entry, served_by, upstreams
from support.nodeprocess import NodeProcess
from support.wire import ask, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=0, answer_tokens=5)
SDK: dict[str, Any] = {"api_key": "of-the-caller", "max_retries": 0, "timeout": 10}
TURNS = 6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[list[SimulatedServer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(SimulatedServer(QUICK)) for _ in range(3)]


@pytest.fixture(scope="module")
def node(
    servers: list[SimulatedServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    text = config(entry([server.url for server in servers]))
    with NodeProcess(tmp_path_factory.mktemp("node"), text) as started:
        yield started


class Asked:
    """How many requests each of the servers has had since this was made."""

    def __init__(self, servers: list[SimulatedServer]) -> None:
        self._servers = servers
        self._before = self._all()

    def _all(self) -> list[int]:
        return [sum(server.statistics().requests.values()) for server in self._servers]

    def counts(self) -> list[int]:
        """By server."""
        return [now - before for now, before in zip(self._all(), self._before, strict=True)]

    def at_one(self, count: int) -> bool:
        """All of them, so many, came to one server."""
        return sorted(self.counts()) == [0, 0, count]


@pytest.fixture
def asked(servers: list[SimulatedServer], node: NodeProcess) -> Asked:
    return Asked(servers)


@pytest.mark.parametrize(
    "field",
    ["x-session-id", "x-claude-code-session-id", "session-id", "thread-id"],
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_a_named_session_stays(
    node: NodeProcess, asked: Asked, path: str, field: str
) -> None:
    """Whatever it says: no two of these requests begin alike."""
    for number in range(TURNS):
        body = _asked(path, [f"{field} {path} {number}"])
        fields = [f"{field}: the same".encode()]
        if field == "thread-id":
            fields.append(b"user-agent: codex")
        answer = await ask(node.url, post(path, json.dumps(body).encode(), *fields))
        assert answer.status == 200
    assert asked.at_one(TURNS)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (CHAT, {"prompt_cache_key": "mine"}),
        (RESPONSES, {"prompt_cache_key": "mine"}),
        (MESSAGES, {"metadata": {"user_id": "user_1_session_2"}}),
    ],
)
async def test_the_body_may_name_it(
    node: NodeProcess, asked: Asked, path: str, label: dict[str, Any]
) -> None:
    for number in range(TURNS):
        body = _asked(path, [f"named by the body {number}"]) | label
        assert (await ask(node.url, post(path, json.dumps(body).encode()))).status == 200
    assert asked.at_one(TURNS)


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_a_growing_conversation_stays_without_a_name(
    node: NodeProcess, asked: Asked, path: str
) -> None:
    said = [f"Please mend the login, by {path}"]
    for number in range(TURNS):
        answer = await ask(node.url, post(path, json.dumps(_asked(path, said)).encode()))
        assert answer.status == 200
        said += [f"answer {number}", f"and then {number}?"]
    assert asked.at_one(TURNS)


async def test_different_sessions_spread(node: NodeProcess, asked: Asked) -> None:
    """By a hash, so evenly only on the whole: 90 over 3 leave none with less than 15."""
    for number in range(90):
        assert (await ask(node.url, asking(f"one of many {number}"))).status == 200
    assert sum(asked.counts()) == 90
    assert min(asked.counts()) >= 15


async def test_every_session_of_many_stays(node: NodeProcess) -> None:
    sessions = [f"again-{number}" for number in range(20)]
    homes = await served_by(node, *sessions)
    assert set(homes.values()) == {"gpu.1", "gpu.2", "gpu.3"}
    for _ in range(2):
        assert await served_by(node, *reversed(sessions)) == homes


async def test_sub_agents_go_where_their_parent_is(node: NodeProcess, asked: Asked) -> None:
    """At the same time and with prompts of their own, in the numbers in which that is no overload.

    The first ones start before any has been answered.
    """
    parent = b"x-claude-code-session-id: parent"
    bodies = [json.dumps(_asked(MESSAGES, [f"sub-agent {number}"])).encode() for number in range(6)]
    for _ in range(3):
        answers = await asyncio.gather(
            *(ask(node.url, post(MESSAGES, body, parent)) for body in bodies)
        )
        assert {answer.status for answer in answers} == {200}
    assert asked.at_one(18)


async def test_the_case_of_a_fields_name_does_not_matter(node: NodeProcess, asked: Asked) -> None:
    for field in (b"X-Session-ID: Case", b"x-session-id: Case", b"X-SESSION-ID: Case"):
        body = json.dumps(_asked(CHAT, ["case"])).encode()
        assert (await ask(node.url, post(CHAT, body, field))).status == 200
    assert asked.at_one(3)


async def test_through_the_openai_sdk(node: NodeProcess, asked: Asked) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", **SDK) as sdk:
        said: list[Any] = [{"role": "user", "content": "grow, through the OpenAI SDK"}]
        for number in range(TURNS):
            if number % 2:
                stream = await sdk.chat.completions.create(model="m", messages=said, stream=True)
                assert [chunk async for chunk in stream]
            else:
                answer = await sdk.chat.completions.create(model="m", messages=said)
                assert answer.choices[0].message.content
            said += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "on"}]
        assert asked.at_one(TURNS)
        named = {"x-session-id": "by the OpenAI SDK"}
        again = Asked(asked._servers)
        for number in range(TURNS):
            await sdk.responses.create(model="m", input=f"part {number}", extra_headers=named)
        assert again.at_one(TURNS)


async def test_through_the_anthropic_sdk(node: NodeProcess, asked: Asked) -> None:
    async with anthropic.AsyncAnthropic(base_url=node.url, **SDK) as sdk:
        said: list[Any] = [{"role": "user", "content": "grow, through the Anthropic SDK"}]
        for number in range(TURNS):
            if number % 2:
                async with sdk.messages.stream(model="m", max_tokens=9, messages=said) as stream:
                    assert await stream.get_final_text()
            else:
                assert (await sdk.messages.create(model="m", max_tokens=9, messages=said)).content
            said += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "on"}]
        assert asked.at_one(TURNS)
        again = Asked(asked._servers)
        for number in range(TURNS):
            await sdk.messages.create(
                model="m",
                max_tokens=9,
                messages=[{"role": "user", "content": f"part {number}"}],
                metadata={"user_id": "user_9_session_8"},
            )
        assert again.at_one(TURNS)


async def test_the_sessions_are_counted(node: NodeProcess) -> None:
    before = sum(one["sessions"] for one in upstreams(node).values())
    for _ in range(2):
        for number in range(5):
            assert (await ask(node.url, asking(f"counted-{number}"))).status == 200
    assert sum(one["sessions"] for one in upstreams(node).values()) == before + 5


def _asked(path: str, said: list[str]) -> dict[str, Any]:
    """A conversation in the shape of `path`: what the user and, in turn, the assistant said."""
    roles = ["user", "assistant"]
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    system = "You are a coding assistant."
    if path == RESPONSES:
        return {"model": "m", "instructions": system, "input": messages}
    if path == MESSAGES:
        return {"model": "m", "max_tokens": 9, "system": system, "messages": messages}
    return {"model": "m", "messages": [{"role": "system", "content": system}, *messages]}

"""The queue before a server: who leaves it, who is refused, who goes first, who is heard next."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from support.fleet import (
    CHAT,
    MESSAGES,
    Turnstile,
    all_closed,
    all_sent,
    asking,
    at_once,
    config,
    entry,
    idle,
    processes,
    queue,
    session_in,
    upstreams,
    waiting,
)
from support.nodeprocess import NodeProcess
from support.recordings import CHAT_EVENTS
from support.scripted import GatedStream, ScriptedUpstream
from support.wire import Client, ask, client, post, settled, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIXED = "adaptive = false"
ENTRIES = {
    "one": ("limit = 1",),
    "none-waits": ("limit = 1", "max_queued = 0"),
    "few-wait": ("limit = 1", "max_queued = 16"),
    "hasty": ("limit = 1", "queue_timeout = 0.2"),
    "four": ("limit = 4",),
    "classes": ("limit = 1",),
}
SDK: dict[str, Any] = {"api_key": "of-the-caller", "max_retries": 0, "timeout": 10}
SHAPES = pytest.mark.parametrize("path", [CHAT, MESSAGES])
_log = logging.getLogger(__name__)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as opened:
        yield opened
    assert opened.failures == []


@pytest.fixture(scope="module")
def node(
    server: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    entries = [
        entry(server.url, f'models = ["{name}"]', FIXED, *lines, name=name)
        for name, lines in ENTRIES.items()
    ]
    with NodeProcess(tmp_path_factory.mktemp("node"), config(*entries)) as started:
        yield started
        assert {one["in_flight"] for one in upstreams(started).values()} == {0}
        assert {one["queue"]["running"] for one in upstreams(started).values()} == {0}


@pytest.fixture
def turnstile(server: ScriptedUpstream) -> Turnstile:
    made = Turnstile(session_in)
    server.play(made)
    return made


async def _arrived(turnstile: Turnstile, count: int) -> None:
    await until(lambda: len(turnstile.order) >= count, f"{count} requests have arrived")


async def _wait(node: NodeProcess, name: str, count: int) -> None:
    await until(lambda: waiting(node, name) == count, f"{count} wait before {name}")


@pytest.mark.parametrize("way", [Client.close, Client.reset], ids=["closed", "reset"])
@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])
async def test_who_leaves_the_queue_is_never_sent(
    node: NodeProcess, turnstile: Turnstile, stream: bool, way: Callable[[Client], Any]
) -> None:
    """Those behind move up; the server never hears of those who left."""
    names = ["first", *(f"waits-{number}" for number in range(8))]
    requests = [asking(name, model="one", stream=stream) for name in names]
    first = await all_sent(requests[:1], node.url)
    await _arrived(turnstile, 1)
    waiters = []
    for number, request in enumerate(requests[1:], 1):
        waiters += await all_sent([request], node.url)
        await _wait(node, "one", number)
    for leaver in waiters[::2]:
        if (leaving := way(leaver)) is not None:
            await leaving
    await _wait(node, "one", 4)

    turnstile.let(5)
    for stayer in (*first, *waiters[1::2]):
        assert (await stayer.answer()).status == 200
    assert sorted(turnstile.order) == sorted(["first", *names[2::2]])
    await all_closed([*first, *waiters])
    assert waiting(node, "one") == 0


@pytest.mark.parametrize("begun", [0, 2], ids=["before-the-head", "in-the-stream"])
@pytest.mark.parametrize("way", [Client.close, Client.reset], ids=["closed", "reset"])
async def test_who_leaves_while_running_makes_room_for_the_next(
    node: NodeProcess, server: ScriptedUpstream, begun: int, way: Callable[[Client], Any]
) -> None:
    """The promise is 100 ms; as in the tests without a queue it is shown, not asserted."""
    stream = GatedStream(CHAT_EVENTS)
    server.play(stream)
    request = asking("s", model="one", stream=True)
    async with client(node.url) as first, client(node.url) as second:
        await first.send(request)
        await stream.started.acquire()
        if begun:
            stream.let(1 + begun)
            assert await first.head() == 200
            await first.take(len(b"".join(CHAT_EVENTS[:begun])))
        await second.send(request)
        await _wait(node, "one", 1)
        left_at = asyncio.get_running_loop().time()
        if (leaving := way(first)) is not None:
            await leaving
        await settled(stream.left, "the server sees the first one go")
        _log.info("seen after %.1f ms", (stream.left_at - left_at) * 1000)
        async with asyncio.timeout(10):
            await stream.started.acquire()
        stream.let_all()
        answer = await second.answer()
    assert (answer.status, answer.body) == (200, b"".join(CHAT_EVENTS))
    assert int(answer.header(b"x-fairlead-queue-ms") or 0) >= 0
    assert stream.calls == 2


async def test_all_leave_a_simulated_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Counted by the server: what ran is cancelled there, what waited never came."""
    async with processes(1, "--ttft", "600") as (server,):
        text = config(entry(server.url, "limit = 3", FIXED))
        with NodeProcess(tmp_path_factory.mktemp("node"), text) as node:
            kinds = [asking(f"s-{n}", stream=bool(n % 2)) for n in range(9)]
            callers = await all_sent(kinds, node.url)
            await _wait(node, "gpu", 6)
            await all_closed(callers)
            await _wait(node, "gpu", 0)
            seen = await idle(server)
            assert (seen["requests"], seen["cancelled"]) == ({CHAT: 3}, 3)
            assert upstreams(node)["gpu"]["in_flight"] == 0


def _refused(node: NodeProcess, name: str, reason: str) -> int:
    return int(queue(node, name)["refused"]["normal"].get(reason, 0))


async def _openai(node: NodeProcess, model: str) -> openai.APIStatusError:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", **SDK) as sdk:
        with pytest.raises(openai.APIStatusError) as refused:
            await sdk.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hi"}]
            )
    return refused.value


async def _anthropic(node: NodeProcess, model: str) -> anthropic.APIStatusError:
    async with anthropic.AsyncAnthropic(base_url=node.url, **SDK) as sdk:
        with pytest.raises(anthropic.APIStatusError) as refused:
            await sdk.messages.create(
                model=model, max_tokens=10, messages=[{"role": "user", "content": "hi"}]
            )
    return refused.value


@pytest.mark.parametrize("model", ["none-waits", "hasty"])
async def test_a_full_queue_and_a_long_wait_as_the_sdks_see_them(
    node: NodeProcess, turnstile: Turnstile, model: str
) -> None:
    reason = "timeout" if model == "hasty" else "full"
    before = _refused(node, model, reason)
    async with client(node.url) as first:
        await first.send(asking("first", model=model))
        await _arrived(turnstile, 1)
        by_openai = await _openai(node, model)
        by_anthropic = await _anthropic(node, model)
        refused = _refused(node, model, reason) - before
        turnstile.let()
        assert (await first.answer()).status == 200

    assert isinstance(by_openai, openai.InternalServerError)
    assert by_openai.status_code == 503
    assert by_anthropic.status_code == 529
    body = by_anthropic.body
    assert isinstance(body, dict)
    assert (body["type"], body["error"]["type"]) == ("error", "overloaded_error")
    for error in (by_openai, by_anthropic):
        assert model in error.message
        assert int(error.response.headers["retry-after"]) >= 1
    assert refused == 2
    assert turnstile.order == ["first"], "what was refused was never sent"


async def test_who_has_its_share_of_a_full_queue_is_told_so(
    node: NodeProcess, turnstile: Turnstile
) -> None:
    """429 in both shapes to the one with the long line, while a newcomer still finds a place."""
    claude = b"x-claude-code-session-id: heavy"
    async with client(node.url) as first:
        await first.send(asking("first", model="few-wait"))
        await _arrived(turnstile, 1)
        # Sixteen places, and as many of the class above, into which these overflow.
        heavy = [asking(f"heavy-{number}", claude, model="few-wait") for number in range(32)]
        waiters = await all_sent(heavy, node.url)
        await _wait(node, "few-wait", 32)

        headers = {"x-claude-code-session-id": "heavy"}
        question: Any = [{"role": "user", "content": "hi"}]
        async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", **SDK) as sdk:
            with pytest.raises(openai.RateLimitError) as by_openai:
                await sdk.chat.completions.create(
                    model="few-wait", messages=question, extra_headers=headers
                )
        async with anthropic.AsyncAnthropic(base_url=node.url, **SDK) as claude_sdk:
            with pytest.raises(anthropic.RateLimitError) as by_anthropic:
                await claude_sdk.messages.create(
                    model="few-wait", max_tokens=1, messages=question, extra_headers=headers
                )
        async with client(node.url) as light:
            await light.send(asking("light", model="few-wait"))
            await until(
                lambda: _refused(node, "few-wait", "share") == 3,
                "one of the heavy ones has made room",
            )
            assert waiting(node, "few-wait") == 32
            turnstile.let(33)
            assert (await light.answer()).status == 200
        statuses = [(await waiter.answer()).status for waiter in waiters]
        assert (await first.answer()).status == 200
        await all_closed(waiters)

    assert isinstance(by_anthropic.value.body, dict)
    assert by_anthropic.value.body["error"]["type"] == "rate_limit_error"
    for error in (by_openai.value, by_anthropic.value):
        assert int(error.response.headers["retry-after"]) >= 1
    assert sorted(statuses) == [200] * 31 + [429]
    # Behind the first, all sixteen of the class above, and one of each line of the swarm's hand.
    assert turnstile.order.index("light") <= 1 + 16 + 8


@SHAPES
@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])
async def test_an_answer_that_waited_says_for_how_long(
    node: NodeProcess, server: ScriptedUpstream, path: str, stream: bool
) -> None:
    turnstile = Turnstile(session_in)
    server.play(turnstile)
    async with client(node.url) as first, client(node.url) as second:
        await first.send(asking("first", path=path, model="one", stream=stream))
        await _arrived(turnstile, 1)
        await second.send(asking("second", path=path, model="one", stream=stream))
        await _wait(node, "one", 1)
        turnstile.let(2)
        at_once_answer, waited = await first.answer(), await second.answer()
    assert at_once_answer.header(b"x-fairlead-queue-ms") is None
    assert int(waited.header(b"x-fairlead-queue-ms") or 0) > 0


@SHAPES
async def test_a_priority_that_is_none_is_the_callers_mistake(
    node: NodeProcess, turnstile: Turnstile, path: str
) -> None:
    answer = await ask(
        node.url, asking("s", b"x-fairlead-priority: urgent", path=path, model="one")
    )
    error = json.loads(answer.body)["error"]
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert "x-fairlead-priority" in error["message"]
    assert "critical, high, normal, low" in error["message"]
    assert turnstile.order == []


async def test_each_class_waits_in_its_own_line_and_the_urgent_goes_first(
    node: NodeProcess, turnstile: Turnstile
) -> None:
    words = {"low": b"low", "normal": b"Normal", "high": b" high", "critical": b"CRITICAL"}
    async with client(node.url) as first:
        await first.send(asking("first", model="classes"))
        await _arrived(turnstile, 1)
        callers = []
        for name, word in words.items():
            request = asking(name, b"x-fairlead-priority: " + word, model="classes")
            callers += await all_sent([request], node.url)
            await until(
                lambda name=name: queue(node, "classes")["waiting"][name] == 1,  # type: ignore[misc]
                f"one of class {name} waits",
            )
        turnstile.let(5)
        for caller in (first, *callers):
            assert (await caller.answer()).status == 200
        await all_closed(callers)
    assert turnstile.order == ["first", "critical", "high", "normal", "low"]


async def test_the_route_decides_where_nothing_is_said(
    node: NodeProcess, turnstile: Turnstile
) -> None:
    async with client(node.url) as first:
        await first.send(asking("first", model="one"))
        await _arrived(turnstile, 1)
        routes = {"/v1/messages/count_tokens": "high", "/v1/embeddings": "low", CHAT: "normal"}
        callers = []
        for path, name in routes.items():
            body = b'{"model": "one", "messages": [], "input": "x"}'
            callers += await all_sent([post(path, body)], node.url)
            await until(
                lambda name=name: queue(node, "one")["waiting"][name] == 1,  # type: ignore[misc]
                f"{path} waits as {name}",
            )
        turnstile.let(4)
        for caller in (first, *callers):
            assert (await caller.answer()).status == 200
        await all_closed(callers)


async def test_a_swarm_of_sub_agents_holds_up_its_own_user(
    node: NodeProcess, turnstile: Turnstile
) -> None:
    """A hundred of one session against one at a time of another, at four places.

    The swarm stands in at most eight lines (its hand), so another line is served again after at
    most one of each: that many are sent between a light request's coming and its going.
    """
    claude = b"x-claude-code-session-id: swarm"
    swarm = await all_sent(
        [asking(f"agent-{number}", claude, model="four") for number in range(100)], node.url
    )
    await _arrived(turnstile, 4)
    await _wait(node, "four", 96)
    for number in range(6):
        async with client(node.url) as light:
            behind = waiting(node, "four")
            name = f"light-{number}"
            await light.send(asking(name, b"x-claude-code-session-id: light", model="four"))
            await _wait(node, "four", behind + 1)
            came = len(turnstile.order)
            while name not in turnstile.order:
                known = len(turnstile.order)
                turnstile.let()
                await _arrived(turnstile, known + 1)
            assert turnstile.order.index(name) - came <= 8
            turnstile.let(4)  # those before it at the server, and itself
            assert (await light.answer()).status == 200
        sent = 100 + number + 1
        await until(
            lambda sent=sent: waiting(node, "four") + len(turnstile.order) == sent,  # type: ignore[misc]
            "the places are taken again",
        )
    turnstile.let(100)
    for agent in swarm:
        assert (await agent.answer()).status == 200, "nothing of the swarm is lost"
    await all_closed(swarm)


async def test_a_request_after_all_that_goes_at_once(
    node: NodeProcess, server: ScriptedUpstream
) -> None:
    server.play(at_once)
    for name in ENTRIES:
        answer = await ask(node.url, asking("s", model=name))
        assert (answer.status, answer.header(b"x-fairlead-queue-ms")) == (200, None)

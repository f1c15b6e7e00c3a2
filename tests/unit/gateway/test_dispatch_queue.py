"""The queue before an upstream, as a caller of `/v1/` meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairlead.gateway.base import ModelRequest, Upstream
from fairlead.gateway.legs.base import Headers
from fairlead.testing import ManualClock
from fairlead.traffic.admission import QueueOptions
from fairlead.traffic.queue import AdaptiveQueueManager
from support.gateway import EVENTS, JSON, ScriptedLeg, ScriptedReply, make_request, make_upstream
from support.gateway import turns as let_run
from support.node import Node, servers_of

pytestmark = pytest.mark.timeout(5)

CHAT, MESSAGES = b"/v1/chat/completions", b"/v1/messages"
BODY = b'{"model": "m", "temperature": 1}'


def ask(session: str, path: bytes = CHAT, priority: bytes = b"") -> ModelRequest:
    fields: Headers = [(b"x-claude-code-session-id", session.encode())]
    if priority:
        fields.append((b"x-fairlead-priority", priority))
    return make_request(BODY, path=path, headers=fields)


class Queued:
    """A node before one server that takes one request at a time."""

    def __init__(self, **options: object) -> None:
        self.replies: list[ScriptedReply] = []
        self.leg = ScriptedLeg(self._answer)
        self.clock = ManualClock()
        self.queue = AdaptiveQueueManager(
            QueueOptions(**{"limit": 1, "max_limit": 1, "min_limit": 1} | options),  # type: ignore[arg-type]  # as the test says
            clock=self.clock,
        )
        self.node = Node(
            make_upstream(self.leg, shape="simulated", base_path="", admission=self.queue),
            clock=self.clock,
        )

    def _answer(self, _request: object) -> ScriptedReply:
        self.replies.append(ScriptedReply(200, EVENTS))
        return self.replies[-1]

    async def end(self, number: int) -> None:
        """The answer to the request that was sent as that number comes to its end."""
        self.replies[number].feed(b"data: 1\n\n")
        self.replies[number].end()
        await let_run()


@asynccontextmanager
async def queued(**options: object) -> AsyncIterator[Queued]:
    it = Queued(**options)
    async with it.node:
        yield it
        statistics = it.queue.statistics()
        assert (statistics.running, statistics.waiting) == (0, 0)


async def test_who_waited_is_told_for_how_long() -> None:
    async with queued() as it:
        first, one = it.node.start(ask("a"))
        await let_run()
        second, two = it.node.start(ask("b"))
        await let_run()
        assert len(it.replies) == 1
        await it.clock.advance(1.5)
        await it.end(0)
        await it.end(1)
        await asyncio.gather(one, two)

        assert first.header(b"x-fairlead-queue-ms") is None
        assert second.header(b"x-fairlead-queue-ms") == b"1500"
        assert it.node.record.queued == 1.5


@pytest.mark.parametrize(
    ("path", "expected"), [(CHAT, (429, 503)), (MESSAGES, (429, 529))], ids=["openai", "anthropic"]
)
async def test_refusals_have_the_callers_shape_and_say_when_to_come_again(
    path: bytes, expected: tuple[int, int]
) -> None:
    async with queued(max_waiting=1) as it:
        running = it.node.start(ask("a", path))
        await let_run()
        # Fills the class normal, the class above it, and then has the longest line itself.
        waiting = [it.node.start(ask("greedy", path)) for _ in range(2)]
        await let_run()
        share = await it.node.ask(ask("greedy", path))
        low = it.node.start(ask("b", path, b"low"))
        await let_run()
        shed = await it.node.ask(ask("c", path, b"low"))

        assert share.status in expected
        assert shed.status == expected[1]
        for sink in (share, shed):
            assert int(sink.header(b"retry-after") or 0) >= 1
            assert json.loads(sink.body)["error"]["message"]
        for number in range(4):
            await it.end(number)
        await asyncio.gather(*(task for _, task in (running, *waiting, low)))


async def test_who_waits_too_long_is_refused_and_nothing_is_sent() -> None:
    async with queued(timeout=2.0) as it:
        _, running = it.node.start(ask("a"))
        await let_run()
        late, task = it.node.start(ask("b"))
        await let_run()
        await it.clock.advance(2.1)
        await task
        await it.end(0)
        await running

        assert late.status == 503
        assert json.loads(late.body)["error"]["code"] == "queue_timeout"
        assert late.header(b"retry-after") is not None
        assert len(it.leg.requests) == 1


@pytest.mark.parametrize("steps", range(12))
async def test_who_leaves_at_any_await_takes_no_place_along(steps: int) -> None:
    async with queued() as it:
        _, running = it.node.start(ask("a"))
        await let_run()
        gone_sink, gone = it.node.start(ask("b"))
        stays, last = it.node.start(ask("c"))
        await let_run()
        it.replies[0].feed(b"data: 1\n\n")
        it.replies[0].end()
        for _ in range(steps):
            await asyncio.sleep(0)
        gone_sink.gone = True
        gone.cancel()
        await asyncio.wait([gone])
        await let_run()
        await it.end(-1)
        await asyncio.gather(running, last)

        assert stays.status == 200


async def test_a_place_is_free_as_soon_as_the_server_is_done_whatever_the_client_does() -> None:
    async with queued() as it:
        slow, task = it.node.start(ask("a"))
        slow.slow = True
        await let_run()
        await it.end(0)
        assert not task.done()
        assert it.queue.running == 0
        slow.drained.set()
        await task


async def test_the_urgent_go_first() -> None:
    async with queued() as it:
        tasks = [it.node.start(ask("a"))[1]]
        await let_run()
        order: list[str] = []
        for name, priority in (("low", b"low"), ("normal", b""), ("critical", b"critical")):
            sink, task = it.node.start(ask(name, priority=priority))
            task.add_done_callback(lambda _, name=name: order.append(name))
            tasks.append(task)
            await let_run()
            assert sink.status == 0
        for number in range(4):
            await it.end(number)
        await asyncio.gather(*tasks)

    assert order == ["critical", "normal", "low"]


async def test_an_answer_that_comes_from_the_cache_needs_no_place() -> None:
    body = b'{"model": "m", "temperature": 0}'
    async with queued() as it:
        it.leg.reactions = [ScriptedReply(200, JSON, b"{}"), it.leg.reactions[0]]
        await it.node.ask(make_request(body))
        _, running = it.node.start(ask("a"))
        await let_run()
        hit = await it.node.ask(make_request(body))
        await it.end(0)
        await running

    assert hit.header(b"cache-status") == b"fairlead; hit"


# ---- what changes while a request waits


def one_at_a_time(name: str, clock: ManualClock) -> tuple[Upstream, list[ScriptedReply]]:
    replies: list[ScriptedReply] = []

    def answer(_request: object) -> ScriptedReply:
        replies.append(ScriptedReply(200, EVENTS))
        return replies[-1]

    queue = AdaptiveQueueManager(QueueOptions(limit=1), clock=clock)
    return make_upstream(ScriptedLeg(answer), name=name, admission=queue, keys=("k",)), replies


async def end(reply: ScriptedReply) -> None:
    reply.feed(b"data: 1\n\n")
    reply.end()
    await let_run()


async def test_who_waits_for_a_server_that_is_replaced_goes_to_the_new_one() -> None:
    clock = ManualClock()
    (old, old_replies), (new, new_replies) = (one_at_a_time(n, clock) for n in ("old", "new"))
    async with Node(old, clock=clock) as node:
        _, running = node.start(ask("a"))
        await let_run()
        waiting, task = node.start(ask("b"))
        await let_run()
        await node.gateway.replace([new])
        node.balancer.update(servers_of([new]))
        await end(old_replies[0])
        await end(new_replies[0])
        await asyncio.gather(running, task)

    assert waiting.status == 200
    assert (len(old_replies), len(new_replies)) == (1, 1)


async def test_who_waits_for_a_server_that_is_drained_goes_to_the_other_one() -> None:
    clock = ManualClock()
    (one, one_replies), (two, two_replies) = (one_at_a_time(n, clock) for n in ("one", "two"))
    async with Node(one, two, clock=clock) as node:
        node.balancer.set_state("two", "draining")
        _, running = node.start(ask("a"))
        await let_run()
        waiting, task = node.start(ask("b"))
        await let_run()
        node.balancer.set_state("two", "active")
        node.balancer.set_state("one", "draining")
        await end(one_replies[0])
        await end(two_replies[0])
        await asyncio.gather(running, task)

    assert waiting.status == 200


async def test_who_waits_in_the_queue_waits_out_a_rest_as_well() -> None:
    async with queued() as it:
        it.leg.reactions = [ScriptedReply(429, [*JSON, (b"retry-after", b"3")], b"{}")]
        gate = it.leg.gate = asyncio.Event()
        _, first = it.node.start(ask("a"))
        await let_run()
        waiting, second = it.node.start(ask("b"))
        await let_run()
        it.leg.reactions.append(it._answer)  # type: ignore[arg-type]  # a reaction
        gate.set()
        await let_run()
        assert len(it.leg.requests) == 1, "nothing is sent while the server rests"
        await it.clock.advance(3)
        await it.end(0)
        await asyncio.gather(first, second)

    assert waiting.status == 200
    assert waiting.header(b"x-fairlead-queue-ms") == b"3000"


async def test_a_plain_answer_says_nothing_about_the_time_to_the_first_byte() -> None:
    async with queued(adaptive=True) as it:
        it.leg.reactions = [ScriptedReply(200, JSON, b"{}")]
        await it.node.ask(ask("a"))

        assert it.queue._dispatch._limiter is not None
        assert it.queue._dispatch._limiter._samples == []

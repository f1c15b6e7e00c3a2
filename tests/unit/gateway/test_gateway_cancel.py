"""Clients that go away, at every moment: the call ends, the record is told, nothing stays."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.errors import ClientGoneError
from fairlead.gateway.caching import CacheOptions
from support.gateway import (
    EVENTS,
    JSON,
    FakeStore,
    RecordingSink,
    ScriptedLeg,
    ScriptedReply,
    make_request,
    make_upstream,
    turns,
)
from support.node import Node, several

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

CACHED = b'{"model":"m","temperature":0,"stream":true}'
UNCACHED = b'{"model":"m","stream":true}'
BOTH = pytest.mark.parametrize("body", [CACHED, UNCACHED], ids=["cached", "uncached"])
START = (
    b'event: message_start\ndata: {"message":{"usage":{"input_tokens":30,"output_tokens":1}}}\n\n'
)


def leave(sink: RecordingSink, task: asyncio.Task[None]) -> None:
    """What the server does when a connection is lost."""
    sink.gone = True
    task.cancel()


@BOTH
@pytest.mark.parametrize("steps", range(1, 16))
async def test_a_client_that_leaves_at_any_await_leaves_nothing_behind(
    body: bytes, steps: int
) -> None:
    reply = ScriptedReply(headers=EVENTS)
    reply.feed(b"data: {}\n\n", b"data: {}\n\n")
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        sink, task = node.start(make_request(body))
        for _ in range(steps):
            await asyncio.sleep(0)
        leave(sink, task)
        await asyncio.wait([task])
        await turns()

        node.check_idle([leg])
        assert len(node.records) == 1
        record = node.record
        assert record.outcome == "client_closed"
        assert record.response_bytes == len(sink.body)
        assert record.status == (200 if sink.status else 499)
        assert node.cache.statistics().stored == 0
    assert leg.cancelled + len(leg.replies) == len(leg.requests)
    assert all(reply.closed for reply in leg.replies)


@BOTH
@pytest.mark.parametrize("steps", range(1, 16))
async def test_a_node_that_stops_at_any_await_tells_the_client(body: bytes, steps: int) -> None:
    """The task is cancelled while the client is there: it must not take half for the whole."""
    reply = ScriptedReply(headers=EVENTS)
    reply.feed(b"data: {}\n\n", b"data: {}\n\n")
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        sink, task = node.start(make_request(body))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await turns()

        node.check_idle([leg])
        assert len(node.records) == 1
    assert sink.closed
    assert sink.aborted or sink.status == 503
    assert task.cancelled()


@pytest.mark.parametrize("steps", range(1, 12))
async def test_leaving_while_the_store_is_asked(steps: int) -> None:
    store = FakeStore()
    leg = ScriptedLeg(ScriptedReply(body=b'{"choices":[]}'))
    options = CacheOptions(persist="all")
    async with Node(make_upstream(leg), options=options, store=store) as node:
        await node.ask(make_request(CACHED))
        await turns()
        node.cache._memory = type(node.cache._memory)(clock=node.clock)
        sink, task = node.start(make_request(CACHED))
        for _ in range(steps):
            await asyncio.sleep(0)
        done = task.done()
        leave(sink, task)
        await asyncio.wait([task])

        node.check_idle([leg])
        assert len(node.records) == 2
        assert node.record.outcome == ("ok" if done else "client_closed")


@BOTH
async def test_what_was_answered_so_far_is_counted(body: bytes) -> None:
    reply = ScriptedReply(headers=EVENTS)
    leg = ScriptedLeg(reply)
    upstream = make_upstream(leg, shape="anthropic", base_path="")
    async with Node(upstream) as node:
        sink, task = node.start(make_request(body, path=b"/v1/messages"))
        reply.feed(START)
        await turns()
        assert sink.body == START
        leave(sink, task)
        await turns(5)

        # Closed within a few turns of the loop: no timer is involved.
        assert reply.closed
        record = node.record
    assert (record.outcome, record.status) == ("client_closed", 200)
    assert (record.response_bytes, record.input_tokens, record.output_tokens) == (len(START), 30, 1)


async def test_a_leader_that_leaves_does_not_stop_its_followers() -> None:
    reply = ScriptedReply(headers=EVENTS)
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        asked = [node.start(make_request(CACHED)) for _ in range(3)]
        reply.feed(b"data: {}\n\n")
        await turns()
        leave(*asked[0])
        await turns()
        assert not reply.closed
        late = node.start(make_request(CACHED))
        reply.feed(b"data: [DONE]\n\n")
        reply.end()
        await asyncio.gather(*(task for _, task in [*asked[1:], late]))
        await turns()

        for sink, _ in [*asked[1:], late]:
            assert (sink.body, sink.finished) == (b"data: {}\n\ndata: [DONE]\n\n", True)
        assert len(leg.requests) == 1
        assert node.cache.statistics().stored == 1
        outcomes = [record.outcome for record in node.records]
    assert sorted(outcomes) == ["client_closed", "ok", "ok", "ok"]


async def test_when_all_have_left_the_upstream_call_is_closed() -> None:
    reply = ScriptedReply(headers=EVENTS)
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        asked = [node.start(make_request(CACHED)) for _ in range(5)]
        reply.feed(b"data: {}\n\n")
        await turns()
        for sink, task in asked:
            assert not reply.closed
            leave(sink, task)
            await turns()

        assert reply.closed
        node.check_idle([leg])
        assert node.cache.statistics().not_stored == {"abandoned": 1}


@BOTH
async def test_a_slow_client_is_waited_for_and_the_upstream_held_back(body: bytes) -> None:
    reply = ScriptedReply(headers=EVENTS)
    pieces = [b"data: %d\n\n" % n for n in range(50)]
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        sink = RecordingSink()
        sink.slow = True
        rest = node.begin(make_request(body), sink)
        assert rest is not None
        task = asyncio.ensure_future(rest)
        reply.feed(*pieces)
        reply.end()
        await turns(100)
        assert len(sink.body) < 100 or body is CACHED
        assert not task.done()
        if body is UNCACHED:
            assert reply.waiting > 40
        sink.slow = False
        sink.drained.set()
        await task

    assert sink.body == b"".join(pieces)


@BOTH
async def test_a_client_that_takes_nothing_is_a_client_that_left(body: bytes) -> None:
    """`drain` says so before the transport has noticed that the connection is lost."""
    reply = ScriptedReply(headers=EVENTS)
    reply.feed(b"data: {}\n\n")
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        sink = RecordingSink()
        sink.slow = True
        sink.drain_error = ClientGoneError("takes nothing")
        rest = node.begin(make_request(body), sink)
        assert rest is not None
        await rest
        await turns()

        node.check_idle([leg])
        assert reply.closed
        assert node.record.outcome == "client_closed"
        assert sink.closed


async def test_leaving_while_the_list_of_models_is_gathered() -> None:
    replies = [ScriptedReply(headers=JSON) for _ in range(2)]
    legs = [ScriptedLeg(reply) for reply in replies]
    async with Node(*several(*legs)) as node:
        sink, task = node.start(make_request(path=b"/v1/models", method=b"GET"))
        await turns()
        leave(sink, task)
        await turns()

        node.check_idle(legs)
    assert all(reply.closed for reply in replies)

"""The gateway and its cache: what `Cache-Status` says, calls shared, streams replayed."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from fairlead.errors import UpstreamBrokenError
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.legs.base import Headers, LegRequest
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
from support.node import Node

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

BODY = b'{"model":"m","temperature":0}'
STREAMED = b'{"model":"m","temperature":0,"stream":true}'
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
PIECES = [b'data: {"choices":[%d]}\n\n' % n for n in range(20)] + [b"data: [DONE]\n\n"]


def answering(headers: Headers = JSON) -> ScriptedLeg:
    return ScriptedLeg(lambda _: ScriptedReply(200, headers, ANSWER))


def control(value: bytes) -> Headers:
    return [(b"cache-control", value)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], b"fairlead; fwd=miss; stored"),
        (control(b"no-cache"), b"fairlead; fwd=request; stored"),
        # Nothing was there that the directive could have ruled out (RFC 9211 section 2.2).
        (control(b"max-age=60"), b"fairlead; fwd=miss; stored"),
        (control(b"no-store"), b"fairlead; fwd=bypass; detail=no-store"),
        ([(b"x-fairlead-cache", b"off")], b"fairlead; fwd=bypass; detail=off"),
    ],
)
async def test_cache_status_of_a_first_request(headers: Headers, status: bytes) -> None:
    async with Node(make_upstream(answering())) as node:
        sink = await node.ask(make_request(BODY, headers=headers))

    assert sink.header(b"cache-status") == status
    assert (sink.header(b"x-fairlead-cache-key") is None) == (b"bypass" in status)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"model":"m"}', b"temperature"),
        (b'{"model":"m","temperature":0,"store":true}', b"store"),
        (b'{"model":"m","temperature":0,"background":true}', b"background"),
        (b'{"model":"m","temperature":0,"previous_response_id":"r"}', b"previous-response-id"),
        (b'{"model":"m","temperature":0,"conversation":"c"}', b"conversation"),
        (b'{"model":"m","temperature":0,"a":1,"a":2}', b"ambiguous-body"),
        (b'{"model":"secret","temperature":0}', b"policy"),
    ],
)
async def test_an_answer_that_was_not_cacheable_says_why(body: bytes, detail: bytes) -> None:
    options = CacheOptions(policies={"secret": "off"})
    async with Node(make_upstream(answering()), options=options) as node:
        for _ in range(2):
            sink = await node.ask(make_request(body))
            assert sink.header(b"cache-status") == b"fairlead; fwd=bypass; detail=" + detail

    assert (node.record.cache, node.record.cache_detail) == ("bypass", detail.decode())


async def test_a_hit_is_the_answer_with_its_age() -> None:
    own: Headers = [(b"x-request-id", b"req_1"), (b"x-ratelimit-remaining-tokens", b"1")]
    general: Headers = [(b"content-type", b"application/json"), (b"openai-version", b"7")]
    leg = answering([*general, *own, (b"date", b"x"), (b"content-length", b"%d" % len(ANSWER))])
    async with Node(make_upstream(leg)) as node:
        await node.ask(make_request(BODY))
        await node.clock.advance(42.9)
        sink = RecordingSink()
        # A hit in memory needs no task.
        assert node.begin(make_request(BODY), sink) is None

    assert (sink.status, sink.body, sink.finished) == (200, ANSWER, True)
    assert sink.headers[:2] == general
    rest = dict(sink.headers[2:])
    key = rest.pop(b"x-fairlead-cache-key")
    assert len(bytes.fromhex(key.decode())) == 32
    assert rest == {
        b"content-length": b"%d" % len(ANSWER),
        b"age": b"42",
        b"x-request-id": b"request-1",
        b"cache-status": b"fairlead; hit",
    }
    record = node.record
    assert (record.cache, record.cache_detail, record.outcome) == ("hit", "memory", "ok")
    assert record.response_bytes == len(ANSWER)


async def test_a_hit_of_the_store_after_a_restart() -> None:
    store = FakeStore()
    options = CacheOptions(persist="all")
    async with Node(make_upstream(answering()), options=options, store=store) as node:
        await node.ask(make_request(BODY))
        await turns()
    leg = answering()
    async with Node(make_upstream(leg), options=options, store=store) as node:
        sink = await node.ask(make_request(BODY))
        assert node.record.cache_detail == "persistent"
        again = await node.ask(make_request(BODY))
        assert node.record.cache_detail == "memory"

    assert sink.header(b"cache-status") == again.header(b"cache-status") == b"fairlead; hit"
    assert leg.requests == []


@pytest.mark.parametrize("body", [BODY, b'{"model":"m"}'])
async def test_only_if_cached_is_504_on_a_miss(body: bytes) -> None:
    leg = answering()
    async with Node(make_upstream(leg)) as node:
        sink = await node.ask(make_request(body, headers=control(b"only-if-cached")))

    assert sink.status == 504
    assert json.loads(sink.body)["error"]["code"] == "not_cached"
    # The official clients retry a 504 otherwise.
    assert sink.header(b"x-should-retry") == b"false"
    assert leg.requests == []


async def test_only_if_cached_is_a_hit_where_there_is_one() -> None:
    async with Node(make_upstream(answering())) as node:
        await node.ask(make_request(BODY))
        sink = await node.ask(make_request(BODY, headers=control(b"only-if-cached")))

    assert sink.header(b"cache-status") == b"fairlead; hit"


async def test_the_switch_on_caches_what_has_no_temperature() -> None:
    on = [(b"x-fairlead-cache", b"on")]
    leg = answering()
    async with Node(make_upstream(leg)) as node:
        await node.ask(make_request(b'{"model":"m"}', headers=on))
        sink = await node.ask(make_request(b'{"model":"m"}', headers=on))

    assert sink.header(b"cache-status") == b"fairlead; hit"
    assert all(not name.startswith(b"x-fairlead-") for name, _ in leg.requests[0].headers)


async def test_a_malformed_switch_is_refused() -> None:
    async with Node(make_upstream(answering())) as node:
        sink = await node.ask(make_request(BODY, headers=[(b"x-fairlead-cache", b"maybe")]))

    assert sink.status == 400


# ---- streams and shared calls


async def test_a_stream_is_replayed_byte_for_byte() -> None:
    reply = ScriptedReply(headers=EVENTS)
    reply.feed(*PIECES)
    reply.end()
    async with Node(make_upstream(ScriptedLeg(reply))) as node:
        first = await node.ask(make_request(STREAMED))
        second = await node.ask(make_request(STREAMED))

    assert first.body == second.body == b"".join(PIECES)
    assert second.header(b"content-type") == b"text/event-stream"
    assert second.header(b"cache-status") == b"fairlead; hit"
    assert node.record.stream


async def test_a_hundred_identical_streams_are_one_call() -> None:
    reply = ScriptedReply(headers=[*EVENTS, (b"x-request-id", b"req_1"), (b"set-cookie", b"a=1")])
    leg = ScriptedLeg(reply)
    async with Node(make_upstream(leg)) as node:
        asked = []
        for index in range(100):
            # Late joiners too: what has come before is theirs as well.
            if index % 5 == 0:
                reply.feed(PIECES[index // 5])
                await turns(4)
            asked.append(node.start(make_request(STREAMED)))
        await turns()
        assert all(sink.body == b"".join(PIECES[:20]) for sink, _ in asked)
        reply.feed(PIECES[20])
        reply.end()
        await asyncio.gather(*(task for _, task in asked))
        await turns()
        node.check_idle([leg])

    assert len(leg.requests) == 1
    (leader, _), *followers = asked
    assert leader.header(b"cache-status") == b"fairlead; fwd=miss; stored"
    assert leader.header(b"x-request-id") == b"req_1"
    assert leader.header(b"set-cookie") == b"a=1"
    for sink, _ in followers:
        assert sink.body == b"".join(PIECES)
        assert sink.header(b"cache-status") == b"fairlead; fwd=miss; collapsed"
        assert sink.header(b"x-request-id") == b"request-1"
        assert sink.header(b"set-cookie") is None
    assert [record.cache for record in node.records].count("collapsed") == 99


@pytest.mark.parametrize("body", [STREAMED, b'{"model":"m","stream":true}'])
async def test_bytes_are_not_held_back(body: bytes) -> None:
    reply = ScriptedReply(headers=EVENTS)
    async with Node(make_upstream(ScriptedLeg(reply))) as node:
        sink, task = node.start(make_request(body))
        await sink.written()
        # The head leaves before the first event comes.
        assert (sink.status, sink.body) == (200, b"")
        for piece in PIECES:
            reply.feed(piece)
            await sink.written()
            assert sink.pieces[-1] == piece
        reply.end()
        await task


@pytest.mark.parametrize("status", [200, 500])
async def test_an_error_of_the_shared_call_reaches_all_and_is_not_cached(status: int) -> None:
    replies: list[ScriptedReply] = []

    def react(_: LegRequest) -> ScriptedReply:
        reply = ScriptedReply(status, EVENTS if status == 200 else JSON)
        reply.feed(b"data: {}\n\n")
        if status == 200:
            reply.fail(UpstreamBrokenError("up-1"))
        else:
            reply.end()
        replies.append(reply)
        return reply

    leg = ScriptedLeg(react)
    async with Node(make_upstream(leg)) as node:
        asked = [node.start(make_request(STREAMED)) for _ in range(20)]
        await asyncio.gather(*(task for _, task in asked))
        assert len({sink.body for sink, _ in asked}) == 1
        assert {sink.status for sink, _ in asked} == {status}
        assert len(leg.requests) == 1
        await node.ask(make_request(STREAMED))
        node.check_idle([leg])

    assert len(leg.requests) == 2
    assert node.cache.statistics().stored == 0


async def test_compressed_answers_are_cached_for_those_who_take_them() -> None:
    headers: Headers = [*JSON, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
    leg = ScriptedLeg(lambda _: ScriptedReply(200, headers, gzip.compress(ANSWER, mtime=0)))
    takes = [(b"accept-encoding", b"gzip")]
    async with Node(make_upstream(leg)) as node:
        await node.ask(make_request(BODY, headers=takes))
        hit = await node.ask(make_request(BODY, headers=takes))
        other = await node.ask(make_request(BODY))

    assert hit.header(b"cache-status") == b"fairlead; hit"
    assert hit.header(b"content-encoding") == b"gzip"
    assert gzip.decompress(hit.body) == ANSWER
    assert other.header(b"cache-status") == b"fairlead; fwd=miss; stored"


async def test_a_cacheable_answer_is_asked_for_in_a_coding_that_can_be_judged() -> None:
    """Node's fetch takes br; an answer in br could never be kept."""
    leg = answering()
    headers = [(b"accept-encoding", b"gzip, deflate, br")]
    async with Node(make_upstream(leg)) as node:
        await node.ask(make_request(BODY, headers=headers))

    accepted = [value for name, value in leg.requests[0].headers if name == b"accept-encoding"]
    assert all(b"br" not in value for value in accepted)

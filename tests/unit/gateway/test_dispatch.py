"""Where a request is sent, and what is tried again before the first byte went out."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairlead.core.identity import Principal
from fairlead.errors import UpstreamBrokenError, UpstreamTimeoutError, UpstreamUnreachableError
from fairlead.gateway.base import ModelRequest, Upstream
from fairlead.gateway.legs.base import Headers
from support.gateway import (
    EVENTS,
    JSON,
    Reaction,
    ScriptedLeg,
    ScriptedReply,
    make_request,
    make_upstream,
    turns,
)
from support.node import Node

pytestmark = pytest.mark.timeout(5)

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
ANSWER = b'{"choices": []}'
REFUSAL = b'{"error": {"message": "its own words"}}'


def ok(body: bytes = ANSWER) -> ScriptedReply:
    return ScriptedReply(200, JSON, body)


def status(number: int, *headers: tuple[bytes, bytes]) -> ScriptedReply:
    return ScriptedReply(number, [*JSON, *headers], REFUSAL)


def server(name: str, *reactions: Reaction, keys: tuple[str, ...] = ("sk-node",)) -> Upstream:
    """An upstream that speaks both APIs; gives the reactions in turn."""
    leg = ScriptedLeg(*reactions)
    return make_upstream(leg, name=name, shape="simulated", base_path="", keys=keys)


def leg_of(upstream: Upstream) -> ScriptedLeg:
    leg = upstream.leg
    assert isinstance(leg, ScriptedLeg)
    return leg


def ask(session: str = "s1", *headers: tuple[bytes, bytes], path: bytes = b"") -> ModelRequest:
    fields: Headers = [(b"x-session-id", session.encode()), *headers]
    return make_request(BODY, path=path or b"/v1/chat/completions", headers=fields)


def keys_used(upstream: Upstream) -> list[bytes]:
    return [dict(request.headers)[b"authorization"] for request in leg_of(upstream).requests]


def sent(*upstreams: Upstream) -> int:
    return sum(len(leg_of(upstream).requests) for upstream in upstreams)


async def test_a_session_stays_where_it_was_answered() -> None:
    one, two = server("one", ok, ok), server("two", ok, ok)
    for upstream in (one, two):
        leg_of(upstream).reactions = [lambda _: ok()]
    async with Node(one, two) as node:
        for _ in range(10):
            await node.ask(ask("the-same"))

    assert sorted((sent(one), sent(two))) == [0, 10]


@pytest.mark.parametrize("number", [502, 503, 504])
async def test_a_failed_server_is_replaced_by_another_and_the_caller_sees_only_the_answer(
    number: int,
) -> None:
    one, two = server("one", ok()), server("two", ok())
    in_turn = [status(number), ok()]
    for upstream in (one, two):
        leg_of(upstream).reactions = [lambda _: in_turn.pop(0)]
    async with Node(one, two) as node:
        sink = await node.ask(ask())

        assert (sink.status, sink.body) == (200, ANSWER)
        assert (sent(one), sent(two)) == (1, 1)
        node.check_idle([leg_of(one), leg_of(two)])
        assert sum(s.in_flight for s in node.balancer.statistics().servers) == 0


@pytest.mark.parametrize("error", [UpstreamUnreachableError("x"), UpstreamBrokenError("x")])
async def test_a_connection_that_fails_before_the_answer_is_no_failure_for_the_caller(
    error: Exception,
) -> None:
    legs = [ScriptedLeg(error), ScriptedLeg(error)]  # type: ignore[arg-type]  # both are ours
    one, two = (
        make_upstream(leg, name=name) for leg, name in zip(legs, ("one", "two"), strict=True)
    )
    async with Node(one, two) as node:
        first = node.balancer.choose("tenant-less", "m", ["one", "two"])
        legs[0 if first.server == "two" else 1].reactions = [lambda _: ok()]
        first.end()
        sink = await node.ask(ask())

    assert sink.status == 200


async def test_where_all_fail_the_last_answer_passes_byte_for_byte() -> None:
    one, two = server("one", status(503)), server("two", status(503))
    async with Node(one, two) as node:
        sink = await node.ask(ask())

    assert (sink.status, sink.body) == (503, REFUSAL)
    assert sent(one, two) == 2


async def test_an_error_of_the_request_itself_is_passed_on_and_not_repeated() -> None:
    one, two = server("one", status(500)), server("two", status(500))
    async with Node(one, two) as node:
        sink = await node.ask(ask())

    assert (sink.status, sink.body) == (500, REFUSAL)
    assert sent(one, two) == 1


@pytest.mark.parametrize(
    "reaction", [status(502), status(504), UpstreamBrokenError("x", "broke off")]
)
async def test_what_may_have_been_carried_out_is_not_repeated(reaction: Reaction) -> None:
    one, two = server("one", reaction), server("two", reaction)
    async with Node(one, two) as node:
        sink = await node.ask(ask(path=b"/v1/files"))

    assert sent(one, two) == 1
    assert sink.status in {502, 504}


async def test_a_server_that_was_silent_to_the_end_is_not_followed_by_another_wait() -> None:
    one, two = (server(name, UpstreamTimeoutError(name)) for name in ("one", "two"))
    async with Node(one, two) as node:
        sink = await node.ask(ask())

    assert sink.status == 504
    assert sent(one, two) == 1


async def test_a_refused_key_is_set_aside_and_the_other_one_serves() -> None:
    one = server("one", status(401), keys=("k1", "k2"))
    leg_of(one).reactions = [status(401), lambda _: ok()]
    async with Node(one) as node:
        for number in range(5):
            sink = await node.ask(ask(f"s{number}"))
            assert sink.status == 200

    used = keys_used(one)
    assert len(used) == 6
    assert used.count(used[0]) == 1


@pytest.mark.parametrize("number", [401, 403])
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/messages"])
async def test_where_every_key_is_refused_it_is_502_naming_the_upstream(
    number: int, path: bytes
) -> None:
    one = server("one", status(number), keys=("k1", "k2"))
    async with Node(one) as node:
        sink = await node.ask(ask(path=path))

    assert sink.status == 502
    assert "'one'" in json.loads(sink.body)["error"]["message"]
    assert b"its own words" not in sink.body
    assert set(keys_used(one)) == {b"Bearer k1", b"Bearer k2"}


async def test_a_full_account_gives_way_to_another_account() -> None:
    one = server("one", keys=("k1", "k2"))
    leg_of(one).reactions = [status(429, (b"retry-after", b"60")), lambda _: ok()]
    async with Node(one) as node:
        sink, task = node.start(ask())
        await turns()
        await node.clock.advance(2)
        await task

        assert sink.status == 200
        assert len(set(keys_used(one))) == 2


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        (b"/v1/chat/completions", 429, 429),
        (b"/v1/messages", 429, 429),
        (b"/v1/chat/completions", 503, 503),
        (b"/v1/messages", 503, 529),
    ],
)
async def test_while_everything_rests_the_caller_is_told_how_long(
    path: bytes, number: int, expected: int
) -> None:
    one = server("one", status(number, (b"retry-after", b"40")))
    async with Node(one) as node:
        first = await node.ask(ask(path=path))
        await node.clock.advance(10)
        second = await node.ask(ask("s2", path=path))
        other_model = make_request(b'{"model": "other"}', path=path)
        await node.ask(other_model)

    assert (first.status, first.body, first.header(b"retry-after")) == (number, REFUSAL, b"40")
    assert (second.status, second.header(b"retry-after")) == (expected, b"30")
    assert "'one'" in json.loads(second.body)["error"]["message"]
    assert sent(one) == 2


async def test_an_overloaded_account_is_asked_again_after_the_time_it_names_then_passed_on() -> (
    None
):
    one = server("one", status(529, (b"retry-after", b"3")))
    async with Node(one) as node:
        sink, task = node.start(ask(path=b"/v1/messages"))
        await turns()
        assert sent(one) == 1
        await node.clock.advance(3)
        assert sent(one) == 2
        await node.clock.advance(3)
        await task

    assert (sink.status, sink.body) == (529, REFUSAL)
    assert sent(one) == 3


async def test_limits_of_the_callers_own_credential_concern_nobody_else() -> None:
    leg = ScriptedLeg(status(429, (b"retry-after", b"60")), ok())
    one = make_upstream(leg, credentials="caller", keys=())
    async with Node(one) as node:
        first = await node.ask(ask())
        second = await node.ask(ask("s2"))

    assert (first.status, first.body) == (429, REFUSAL)
    assert second.status == 200


async def test_nothing_is_tried_again_once_the_head_is_out() -> None:
    reply = ScriptedReply(200, EVENTS)
    one, two = server("one", reply), server("two", reply)
    async with Node(one, two) as node:
        sink, task = node.start(ask())
        await turns()
        reply.fail(UpstreamBrokenError("one", "gone"))
        await task

        assert b"error" in sink.body
        assert sent(one, two) == 1
        assert sum(s.failed for s in node.balancer.statistics().servers) == 1


async def test_a_wrong_priority_or_capability_is_the_callers_to_mend() -> None:
    one = server("one", ok())
    async with Node(one) as node:
        wrong = await node.ask(ask("s", (b"x-fairlead-priority", b"urgent")))

    error = json.loads(wrong.body)["error"]
    assert wrong.status == 400
    assert error["param"] == "x-fairlead-priority"
    assert "critical" in error["message"]
    assert sent(one) == 0


async def test_tenants_with_the_same_session_id_do_not_share_a_place() -> None:
    servers = [server(f"up-{number}", ok()) for number in range(8)]
    for upstream in servers:
        leg_of(upstream).reactions = [lambda _: ok()]
    async with Node(*servers) as node:
        for number in range(40):
            who = Principal(tenant=f"t{number}", user="u", verified=True)
            fields: Headers = [(b"x-session-id", b"1")]
            await node.ask(make_request(BODY, headers=fields, principal=who))

    assert sum(1 for upstream in servers if sent(upstream)) > 4


# ---- a reload


async def test_what_is_on_its_way_ends_where_it_is_and_then_its_leg_is_closed() -> None:
    reply = ScriptedReply(200, EVENTS)
    old, new = server("one", reply), server("one", ok())
    async with Node(old) as node:
        sink, task = node.start(ask())
        await turns()
        await node.gateway.replace([new])
        assert (await node.ask(ask("s2"))).status == 200
        assert leg_of(old).is_open
        reply.feed(b"data: 1\n\n")
        reply.end()
        await task
        await turns()

        assert sink.body == b"data: 1\n\n"
        assert not leg_of(old).is_open
        assert leg_of(new).is_open


async def test_a_leg_that_the_new_record_shares_stays_open() -> None:
    leg = ScriptedLeg(lambda _: ok())
    old, new = make_upstream(leg, models=["m"]), make_upstream(leg, models=["*"])
    async with Node(old) as node:
        await node.gateway.replace([new])
        await turns()

        assert (await node.ask(ask())).status == 200
        assert leg.is_open
    assert not leg.is_open


async def test_closing_closes_what_is_still_in_use_too() -> None:
    old, new = server("one", ScriptedReply(200, EVENTS)), server("one", ok())
    node = Node(old)
    await node.open()
    _, task = node.start(ask())
    await turns()
    await node.gateway.replace([new])
    await node.close()

    assert not leg_of(old).is_open
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ---- short rests


async def test_a_short_rest_is_waited_out() -> None:
    one = server("one")
    leg_of(one).reactions = [status(429, (b"retry-after", b"2")), lambda _: ok()]
    async with Node(one) as node:
        await node.ask(ask())
        sink, task = node.start(ask("s2"))
        await turns()
        assert sent(one) == 1
        await node.clock.advance(2)
        await task

        assert sink.status == 200
        assert sink.header(b"x-fairlead-queue-ms") == b"2000"


async def test_rests_one_after_the_other_are_not_waited_out_for_ever() -> None:
    one = server("one", status(429, (b"retry-after", b"4")))
    async with Node(one) as node:
        under_way = [node.balancer.choose("other", "m") for _ in range(4)]
        await node.ask(ask())
        sink, task = node.start(ask("waits"))
        for other in under_way:
            await turns()
            await node.clock.advance(3.9)
            other.answered(429, 4.0)
            other.end()
        await task

    assert sink.status == 429
    assert sink.header(b"retry-after") is not None
    assert sent(one) == 1


async def test_who_leaves_while_a_server_rests_is_gone() -> None:
    one = server("one", status(429, (b"retry-after", b"2")), ok())
    async with Node(one) as node:
        await node.ask(ask())
        sink, task = node.start(ask("s2"))
        await turns()
        sink.gone = True
        task.cancel()
        await asyncio.wait([task])
        await node.clock.advance(5)

        node.check_idle([leg_of(one)])
        assert node.record.status == 499
    assert sent(one) == 1

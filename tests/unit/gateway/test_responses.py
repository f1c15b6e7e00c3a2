"""`ModelResponseCache`: freshness, policies, scopes, bounds."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.core.identity import Principal
from fairlead.gateway.base import PurgeSelector
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.keys import MODELS_TTL, Scope, read_facts
from fairlead.gateway.shapes import shape_of
from fairlead.testing import ManualClock
from support.cache import ANSWER, Make, Upstream, answer_of, ask, fill, plan_for
from support.gateway import JSON, FakeStore, make_request, turns

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

# ---- freshness


async def test_an_answer_lives_for_its_time_counted_from_its_creation(
    make: Make, clock: ManualClock
) -> None:
    async with make() as cache:
        plan = plan_for(cache)
        assert cache.peek(plan) is None
        await fill(cache, plan)
        for elapsed in (0, 1000, 2600):
            await clock.advance(elapsed)
            assert cache.peek(plan) is not None
        await clock.advance(1)
        assert cache.peek(plan) is None

    assert cache.statistics().expired == 1
    assert CacheOptions().ttl == 3600


async def test_a_hit_tells_the_answer_and_its_age(make: Make, clock: ManualClock) -> None:
    async with make() as cache:
        plan = plan_for(cache)
        await fill(cache, plan)
        await clock.advance(42)
        hit = cache.peek(plan)

    assert hit is not None
    assert (hit.response.body, hit.response.headers, hit.age) == (ANSWER, JSON, 42)


async def test_max_age_asks_for_a_younger_one(make: Make, clock: ManualClock) -> None:
    async with make() as cache:
        await fill(cache, plan_for(cache))
        await clock.advance(30)
        for age, found in ((29, False), (30, True), (31, True), (0, False)):
            plan = plan_for(cache, headers=[(b"cache-control", b"max-age=%d" % age)])
            assert (cache.peek(plan) is not None) == found
        # What was too old for one caller is there for the others.
        assert cache.peek(plan_for(cache)) is not None


async def test_no_cache_calls_afresh_and_renews_the_entry(make: Make, clock: ManualClock) -> None:
    async with make() as cache:
        await fill(cache, plan_for(cache))
        await clock.advance(100)
        fresh = plan_for(cache, headers=[(b"cache-control", b"no-cache")])
        assert await ask(cache, fresh) is None
        await fill(cache, fresh, Upstream(answer_of(11)))
        hit = cache.peek(plan_for(cache))

    assert hit is not None
    assert (hit.response.body, hit.age) == (answer_of(11), 0)


async def test_no_cache_does_not_join_a_call_that_began_before(make: Make) -> None:
    async with make() as cache:
        old, new = Upstream(answer_of(1)), Upstream(answer_of(2))
        old.gate = asyncio.Event()
        first = asyncio.ensure_future(fill(cache, plan_for(cache), old))
        await turns()
        fresh = plan_for(cache, headers=[(b"cache-control", b"no-cache")])
        assert await fill(cache, fresh, new) == answer_of(2)
        # The others still join the call that they would have joined.
        joined = asyncio.ensure_future(fill(cache, plan_for(cache), new))
        await turns()
        old.gate.set()
        assert await first == await joined == answer_of(1)

    assert (old.calls, new.calls) == (1, 1)
    assert cache.statistics().in_flight == 0


async def test_no_store_and_a_switched_off_cache_have_no_key(make: Make) -> None:
    async with make() as cache:
        await fill(cache, plan_for(cache))
        for headers, reason in (
            ([(b"cache-control", b"no-store")], "no-store"),
            ([(b"x-fairlead-cache", b"off")], "off"),
        ):
            plan = plan_for(cache, headers=headers)
            assert (plan.key, plan.reason) == (None, reason)
            assert await ask(cache, plan) is None
            with pytest.raises(ValueError, match="passes by the cache"):
                cache.follow(plan, Upstream())

    assert cache.statistics().bypassed == {"no-store": 1, "off": 1}


async def test_the_list_of_models_lives_for_a_minute_and_in_memory_only(
    make: Make, clock: ManualClock, store: FakeStore
) -> None:
    async with make(store, persist="all") as cache:
        plan = plan_for(cache, b"", path=b"/v1/models", method=b"GET")
        await fill(cache, plan, Upstream(b'{"object":"list","data":[]}'))
        await clock.advance(MODELS_TTL)
        assert cache.peek(plan) is not None
        longer = plan_for(
            cache, b"", path=b"/v1/models", method=b"GET",
            headers=[(b"cache-control", b"max-age=600")],
        )  # fmt: skip
        await clock.advance(1)
        assert await ask(cache, plan) is None
        assert await ask(cache, longer) is None

    assert (store.puts, store.gets) == (0, 0)


# ---- policies and scopes


async def test_policies_by_model_pattern(make: Make) -> None:
    policies = {"eval-*": "all", "secret-*": "off"}
    async with make(policies=policies) as cache:
        plans = {
            model: plan_for(cache, b'{"model":"%b"}' % model.encode())
            for model in ("eval-1", "secret-1", "other")
        }
        zero = plan_for(cache, b'{"model":"secret-1","temperature":0}')

    assert plans["eval-1"].key is not None
    assert plans["secret-1"].reason == zero.reason == "policy"
    assert plans["other"].reason == "temperature"


async def test_ambiguous_bodies_pass_by(make: Make) -> None:
    async with make() as cache:
        plan = plan_for(cache, b'{"model":"m","temperature":0,"a":1,"a":2}')

    assert (plan.key, plan.reason) == (None, "ambiguous-body")
    assert cache.statistics().bypassed == {"ambiguous-body": 1}


async def test_the_limit_of_size_is_on_the_decoded_body(make: Make) -> None:
    """It is the decoded body whose canonical form would hold the loop."""
    async with make() as cache:
        request = make_request(b"compressed", headers=[(b"content-encoding", b"zstd")])
        plain = b'{"model":"m","temperature":0,"x":"' + b" " * (8 << 20) + b'"}'
        shape = shape_of(request.path, request.headers)
        plan = cache.plan(request, read_facts(plain), shape, body=plain)

    assert plan.reason == "size"


@pytest.mark.parametrize("scope", ["user", "team", "global"])
async def test_a_scope_never_reads_anothers_entry(
    make: Make, store: FakeStore, scope: Scope
) -> None:
    ada, bob = Principal("acme", "ada"), Principal("acme", "bob")
    eve = Principal("other", "ada")
    readers = {"user": [ada], "team": [ada, bob], "global": [ada, bob, eve]}[scope]
    async with make(store, scope=scope, persist="all") as cache:
        await fill(cache, plan_for(cache, principal=ada))
        await turns()
        for who in (ada, bob, eve):
            assert (cache.peek(plan_for(cache, principal=who)) is not None) == (who in readers)
        cache._memory.purge(PurgeSelector())
        for who in (ada, bob, eve):
            assert (await ask(cache, plan_for(cache, principal=who)) is not None) == (
                who in readers
            )


async def test_a_scope_never_joins_anothers_call(make: Make) -> None:
    async with make() as cache:
        upstream = Upstream()
        upstream.gate = asyncio.Event()
        calls = [
            asyncio.ensure_future(fill(cache, plan_for(cache, principal=who), upstream))
            for who in (Principal("a", "x"), Principal("b", "x"))
        ]
        await turns()
        upstream.gate.set()
        await asyncio.gather(*calls)

    assert upstream.calls == 2

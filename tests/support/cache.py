"""Asking a `ModelResponseCache` as the gateway does, with calls that are counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.gateway.caching import Hit, Plan
from fairlead.gateway.keys import read_facts
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.responses import ModelResponseCache
from fairlead.gateway.shapes import shape_of
from fairlead.gateway.stream import Answer, WholeReply
from support.gateway import JSON, make_request, turns

BODY = b'{"model":"m","temperature":0}'


def answer_of(tokens: int) -> bytes:
    usage = {"prompt_tokens": tokens, "completion_tokens": 0}
    return json.dumps({"choices": [], "usage": usage}).encode()


ANSWER = answer_of(10)
Make = Callable[..., ModelResponseCache]


def plan_for(
    cache: ModelResponseCache,
    body: bytes = BODY,
    *,
    path: bytes = b"/v1/chat/completions",
    method: bytes = b"POST",
    headers: Headers | None = None,
    principal: Principal = LOCAL_PRINCIPAL,
) -> Plan:
    request = make_request(body, path=path, method=method, headers=headers, principal=principal)
    facts = read_facts(body or b"{}")
    return cache.plan(request, facts, shape_of(path, request.headers))


class Upstream:
    """Counts calls; each answers with `body`, or fails."""

    def __init__(self, body: bytes = ANSWER, headers: Headers | None = None, status: int = 200):
        self.body = body
        self.headers = JSON if headers is None else headers
        self.status = status
        self.calls = 0
        self.cancelled = 0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self) -> Answer:
        self.calls += 1
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Answer("up-1", WholeReply(self.status, self.headers, self.body))

    async def plain(self) -> bytes:
        answer = await self()
        return answer.reply.read_nowait()


async def fill(cache: ModelResponseCache, plan: Plan, upstream: Upstream | None = None) -> bytes:
    """Make the call and read it to its end, as a client does."""
    follower, _ = cache.follow(plan, upstream or Upstream())
    try:
        await follower.head()
        return await follower.read_all()
    finally:
        follower.close()
        await turns(3)


async def ask(cache: ModelResponseCache, plan: Plan) -> Hit | None:
    return cache.peek(plan) or await cache.find(plan)

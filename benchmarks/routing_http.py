"""A trace as real HTTP, faster than it was recorded, against simulated upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial

import msgspec
import uvloop

from benchmarks.calls import Call, Door, post
from benchmarks.fleet import MODEL, UpstreamCounts, Yard, counts_of, metrics_of, start_node
from benchmarks.fleet import start_upstreams as start_simulated
from benchmarks.load import LoadMeter
from benchmarks.machine import BenchmarkError
from benchmarks.policies import BASELINES, Policy, PolicyFactory, RoundRobin
from benchmarks.processes import free_ports
from benchmarks.simulation import ModelServers, Outcome
from benchmarks.traces import BLOCK_TOKENS, TraceRequest
from fairlead.core.clock import SYSTEM_CLOCK

SPEED = 20.0
"""How many times faster than recorded: everything of the model servers is scaled alike."""
TOKENS_PER_EVENT = 10
"""An answer's length and pace are divided by this, which leaves its duration as it was."""

_BLOCK_BYTES = 4 * BLOCK_TOKENS
"""The simulated upstream takes four bytes for a token."""
_SAMPLE_SECONDS = 0.1
_LONGEST_ANSWER = 10_000


@dataclass(frozen=True)
class Entrance:
    """Where the requests go in: a base URL for each server that `policy` knows, or one router."""

    urls: Sequence[str]
    policy: Policy
    spills_of_node: bool = False


Opening = Callable[[Yard, Sequence[str], ExitStack], Entrance]
"""Starts what stands before the upstreams, if anything does."""


def entrances(sglang_python: str | None) -> dict[str, Opening]:
    """What is compared over HTTP, by the title of its row; SGLang's router where there is one."""
    found: dict[str, Opening] = {
        f"{name}, direct": partial(_open_nothing, make) for name, make in BASELINES.items()
    }
    if sglang_python is not None:
        for policy in ("round_robin", "cache_aware", "manual"):
            found[f"SGLang router, {policy}"] = partial(_open_sglang, sglang_python, policy)
    found["Fairlead node"] = _open_node
    return found


def sglang_version(python: str) -> str:
    """Of the router in that environment."""
    asking = "import importlib.metadata as m; print(m.version('sglang-router'))"
    shown = subprocess.run([python, "-c", asking], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "unknown"


def _open_nothing(
    make: PolicyFactory,
    yard: Yard,  # noqa: ARG001 - as the other openings
    urls: Sequence[str],
    stack: ExitStack,  # noqa: ARG001 - as the other openings
) -> Entrance:
    """The policy is the load generator's own; its requests go straight to the upstreams."""
    return Entrance(urls, make(len(urls), SYSTEM_CLOCK))


def _open_node(yard: Yard, urls: Sequence[str], stack: ExitStack) -> Entrance:
    url, _ = start_node(yard, urls, stack)
    return Entrance([url], RoundRobin(1), spills_of_node=True)


def _open_sglang(
    python: str, policy: str, yard: Yard, urls: Sequence[str], stack: ExitStack
) -> Entrance:
    """With its own defaults for each policy; `manual` is sticky by a header, first least loaded."""
    port, metrics = free_ports(2)
    arguments = [python, "-m", "sglang_router.launch_router", "--worker-urls", *urls]
    arguments += ["--policy", policy, "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
    arguments += ["--health-check-endpoint", "/healthz", "--log-level", "error"]
    arguments += ["--disable-retries", "--disable-circuit-breaker", "--assignment-mode", "min_load"]
    url = f"http://127.0.0.1:{port}"
    yard.start(f"sglang-{policy}", arguments, yard.cores.server, url, "/readiness", stack)
    return Entrance([url], RoundRobin(1))


def replay_http(
    trace: Sequence[TraceRequest],
    machines: ModelServers,
    opening: Opening,
    yard: Yard,
) -> tuple[Outcome, int]:
    """All of `trace` through what `opening` starts, and how many requests failed.

    Upstreams are started for it, so caches are empty. Times to first token are in seconds as they
    were, so `SPEED` times shorter than the trace's; work is blocks that were prefilled.
    """
    with ExitStack() as stack:
        options = {
            "ttft": 0.0,
            "prefill": 1e3 / (machines.prefill * BLOCK_TOKENS) / SPEED,
            "tokens-per-second": machines.decode / TOKENS_PER_EVENT * SPEED,
            "answer-tokens": _LONGEST_ANSWER,
            "prefix-cache-blocks": machines.cache_blocks,
        }
        upstreams = start_simulated(yard, machines.servers, options, stack)
        entrance = opening(yard, upstreams, stack)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Replay(entrance, upstreams).run(trace))


def body_of(request: TraceRequest) -> bytes:
    """A streamed chat completion whose prompt has equal text for equal block ids, and only then."""
    prompt = "".join(_block(number) for number in request.blocks)
    return msgspec.json.encode(
        {
            "model": MODEL,
            "stream": True,
            "max_tokens": max(1, round(request.output_tokens / TOKENS_PER_EVENT)),
            "messages": [{"role": "user", "content": prompt}],
        }
    )


def _block(number: int) -> str:
    word = f"{number:07x} "
    return word * (_BLOCK_BYTES // len(word))


class _Replay:
    def __init__(self, entrance: Entrance, upstreams: Sequence[str]) -> None:
        self._entrance = entrance
        self._doors = [Door(url) for url in entrance.urls]
        self._asking = [Door(url, keep_bodies=True) for url in upstreams]
        self._meter = LoadMeter(len(upstreams))
        self._calls: list[Call] = []

    async def run(self, trace: Sequence[TraceRequest]) -> tuple[Outcome, int]:
        async with AsyncExitStack() as stack:
            for door in (*self._doors, *self._asking):
                await stack.enter_async_context(door)
            sampling = asyncio.create_task(self._sample())
            try:
                await self._send(trace)
            finally:
                sampling.cancel()
                with contextlib.suppress(asyncio.CancelledError):  # it was just asked to end
                    await sampling
            return await self._outcome()

    async def _send(self, trace: Sequence[TraceRequest]) -> None:
        """Open loop: each request at its time, whatever became of those before it."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for request in trace:
                # Made before it is due, so that making it delays nothing.
                body = body_of(request)
                early = request.at / SPEED - (time.perf_counter() - began)
                await asyncio.sleep(max(0.0, early))
                group.create_task(self._request(request, body))

    async def _request(self, request: TraceRequest, body: bytes) -> None:
        place = self._entrance.policy.choose(request.session)
        door = self._doors[place.server]
        session = request.session
        whole = post(door.host, body, x_session_id=session, x_smg_routing_key=session)
        self._calls.append(await door.call(whole))
        place.end()

    async def _sample(self) -> None:
        while True:
            counts = await self._counts()
            self._meter.observe([one.active for one in counts], time.perf_counter())
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _counts(self) -> list[UpstreamCounts]:
        return await asyncio.gather(*(counts_of(door) for door in self._asking))

    async def _outcome(self) -> tuple[Outcome, int]:
        counts = await self._counts()
        found = sum(one.prefix_cache.hits for one in counts)
        missed = sum(one.prefix_cache.misses for one in counts)
        spills = self._entrance.policy.spills
        if self._entrance.spills_of_node:
            async with Door(self._entrance.urls[0], keep_bodies=True) as door:
                spills = int((await metrics_of(door))["fairlead_session_spills_total"])
        good = [call for call in self._calls if call.ok]
        if not good:
            raise BenchmarkError(f"all of {len(self._calls)} requests failed")
        outcome = Outcome(
            hit_rate=found / max(1, found + missed),
            first_tokens=[call.first for call in good],
            served=[float(sum(one.requests.values())) for one in counts],
            work=[float(one.prefix_cache.misses) for one in counts],
            load_ratio=self._meter.ratio,
            spills=spills,
        )
        return outcome, len(self._calls) - len(good)

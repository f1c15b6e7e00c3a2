"""Heavy and light users over HTTP, through a node with a small limit."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop

from benchmarks.calls import Door, post
from benchmarks.crowds import Crowd, Stage, Waits
from benchmarks.fleet import MODEL, Yard, start_node, start_upstreams
from benchmarks.machine import Cores, pinned, raise_file_limit
from fairlead.core.clock import SYSTEM_CLOCK

SERVICE = 0.1
"""Seconds that the simulated upstream takes for an answer on average, evenly from 0.5 to 1.5 x."""

Naming = Callable[[str], str]
"""What a flow says in `x-claude-code-session-id`."""

_BODY = msgspec.json.encode(
    {"model": MODEL, "messages": [{"role": "user", "content": "Move the check."}]}
)
_WARMING = 2.0


class FairnessNode:
    """A node with `limit` requests at a time before one upstream, for several runs."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stack = ExitStack()
        self._url = ""

    def __enter__(self) -> FairnessNode:
        raise_file_limit()
        cores = Cores.choose()
        with ExitStack() as stack:
            directory = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="fairlead-bench-", ignore_cleanup_errors=True)
            )
            stack.enter_context(pinned(cores.load))
            yard = Yard(Path(directory), cores)
            options = {"tokens-per-second": 0, "answer-tokens": 4}
            upstreams = start_upstreams(yard, 1, options, stack)
            more = f"limit = {self._limit}\nadaptive = false"
            self._url, _ = start_node(yard, upstreams, stack, upstream=more)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def meet(self, crowd: Crowd, seconds: float, seed: int, naming: Naming) -> Waits:
        """Let `crowd` have its tasks for so many seconds, each flow under the name it is given."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._meet(crowd, seconds, seed, naming))

    async def _meet(self, crowd: Crowd, seconds: float, seed: int, naming: Naming) -> Waits:
        async with Door(self._url) as door:

            async def task(flow: str, chance: random.Random) -> tuple[float, float] | None:
                service = chance.uniform(0.5, 1.5) * SERVICE
                request = post(
                    door.host,
                    _BODY,
                    x_claude_code_session_id=naming(flow),
                    x_simulate_ttft=f"{service:.4f}",
                )
                call = await door.call(request)
                return (call.queued, call.seconds) if call.ok else None

            return await Stage(SYSTEM_CLOCK, task, SERVICE, seed).gather(crowd, seconds, _WARMING)

"""Thousands of clients of one process: idle ones, and live streams, without one error."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.nodeprocess import NodeProcess
from support.wire import client, post, until

CONFIG = """
[server]
shutdown_timeout = 2
access_log = false

[[upstreams]]
name = "simulated"
shape = "simulated"
base_url = "{url}"
max_connections = 2000
limit = 2000
adaptive = false
"""
TOKENS = 8
OPTIONS = SimulatedOptions(
    ttft=0, prefill=0, tokens_per_second=4, answer_tokens=TOKENS, max_concurrency=2000
)


@pytest.fixture
def files() -> Iterator[int]:
    """As many open files as are allowed; the node inherits it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(OPTIONS) as opened:
        yield opened


@pytest.mark.parametrize(
    ("idle", "streams"),
    [(1000, 200), pytest.param(5000, 1000, marks=pytest.mark.soak)],
)
async def test_many(
    tmp_path: Path, upstream: SimulatedServer, files: int, idle: int, streams: int
) -> None:
    needed = idle + 3 * streams + 200
    if files != resource.RLIM_INFINITY and files < needed:
        pytest.skip(f"open files are limited to {files}, {needed} are needed: ulimit -Hn {needed}")
    with NodeProcess(tmp_path, CONFIG.format(url=upstream.url)) as node:
        async with AsyncExitStack() as stack:
            waiting = [await stack.enter_async_context(client(node.url)) for _ in range(idle)]
            live = [await stack.enter_async_context(client(node.url)) for _ in range(streams)]
            for number, opened in enumerate(live):
                body = b'{"model": "simulated", "stream": true, "messages": [%b], "seed": %d}'
                message = b'{"role": "user", "content": "hello"}'
                await opened.send(post("/v1/chat/completions", body % (message, number)))
            assert {await opened.head() for opened in live} == {200}
            first = [await opened.piece() for opened in live]
            assert node.metric("fairlead_inflight_requests") == streams, "all are live at once"
            rest = await asyncio.gather(*(opened.body() for opened in live))
            assert all(first)
            assert all(body.endswith(b"[DONE]\n\n") for body in rest)
            health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for opened in waiting:
                await opened.send(health)
            assert {(await opened.answer()).status for opened in waiting} == {200}
        await until(lambda: node.metric("fairlead_inflight_requests") == 0, "nothing is left")

"""A node of two processes that share one address, one cache file and one set of metrics."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.nodeprocess import NodeProcess, clean_environ
from support.wire import Answer, Client, ask, client, post, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIT = b"fairlead; hit"
CONFIG = """
[server]
shutdown_timeout = 2
workers = 2

[cache]
persist = "all"

[[upstreams]]
name = "simulated"
shape = "simulated"
base_url = "{url}"
"""
QUICK = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=0, answer_tokens=40)
REQUESTS = "fairlead_requests_total"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def node(
    upstream: SimulatedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    with NodeProcess(folder, CONFIG.format(url=upstream.url)) as started:
        yield started


def chat(content: str) -> bytes:
    question = [{"role": "user", "content": content}]
    body = {"model": "m", "temperature": 0, "stream": True, "messages": question}
    return post("/v1/chat/completions", json.dumps(body).encode())


async def many(node: NodeProcess, request: bytes, count: int) -> list[Answer]:
    """Answers to `request` on so many connections at once."""
    return await asyncio.gather(*(ask(node.url, request) for _ in range(count)))


async def counted(node: NodeProcess) -> float:
    """How many requests the node says it had, once each worker has told the other of all.

    They write their numbers about once a second. The next file after this moment may have been
    begun before it, the one after that was not.
    """
    files = [node.data_dir / "run" / f"{worker}.metrics" for worker in range(2)]
    await until(lambda: all(file.exists() for file in files), "each worker has written")
    for _ in range(2):
        seen = [file.stat().st_mtime_ns for file in files]
        await until(
            lambda seen=seen: all(  # type: ignore[misc]
                file.stat().st_mtime_ns > moment for file, moment in zip(files, seen, strict=True)
            ),
            "each worker has written its numbers",
        )
    return node.metric(REQUESTS)


async def test_both_serve_and_the_metrics_are_summed(node: NodeProcess) -> None:
    assert len(node.workers()) == 2
    before = await counted(node)
    answers = await many(node, chat("for both"), 40)
    assert {answer.status for answer in answers} == {200}
    assert await counted(node) == before + 40
    # Whichever worker answers, it says the same.
    assert {node.metric(REQUESTS) for _ in range(10)} == {before + 40}
    assert node.metric("fairlead_metrics_snapshot_failures_total") == 0


async def test_what_one_has_stored_the_other_finds(
    node: NodeProcess, upstream: SimulatedServer
) -> None:
    request = chat("stored by one")
    asked = sum(upstream.statistics().requests.values())
    first = await ask(node.url, request)
    await until(lambda: node.metric("fairlead_cache_store_entries") > 0, "it is in the file")
    connections = [await Client.connect(node.url) for _ in range(16)]
    hit: set[int] = set()

    async def all_hit() -> bool:
        for number, connection in enumerate(connections):
            answer = await connection.ask(request)
            if answer.header(b"cache-status") == HIT:
                hit.add(number)
        return len(hit) == len(connections)

    async with asyncio.timeout(10):
        while not await all_hit():
            pass  # each round asks the upstream at most once more: then both have stored it
    # A worker that had not looked at the file yet may have asked once itself.
    assert sum(upstream.statistics().requests.values()) - asked in {1, 2}
    assert first.status == 200
    for connection in connections:
        await connection.close()


async def test_a_killed_worker_is_replaced(node: NodeProcess) -> None:
    before = await counted(node)
    await many(node, chat("before the kill"), 10)
    assert await counted(node) == before + 10
    victim, survivor = node.workers()
    os.kill(victim, signal.SIGKILL)
    await until(lambda: victim not in node.workers(), "the dead one is gone")
    # The address is shared: while one is missing the other answers.
    answers = await many(node, chat("in between"), 10)
    assert {answer.status for answer in answers} == {200}
    await until(lambda: len(node.workers()) == 2, "there is a new one")
    assert survivor in node.workers()
    answers = await many(node, chat("after the kill"), 10)
    assert {answer.status for answer in answers} == {200}
    # What the dead one had counted still counts.
    assert await counted(node) == before + 30


async def test_all_end_when_the_node_is_stopped(
    upstream: SimulatedServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stopped")
    with NodeProcess(folder, CONFIG.format(url=upstream.url)) as started:
        workers = started.workers()
        assert started.stop() == 0
        for pid in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_none_is_left_when_the_node_itself_is_killed(
    upstream: SimulatedServer, tmp_path: Path
) -> None:
    """Even with a stream on its way; and the data can be used again at once."""
    node = NodeProcess(tmp_path, CONFIG.format(url=upstream.url))
    node.start()
    workers = node.workers()
    url = node.url
    async with client(url) as caller:
        slow = (b"x-simulate-tokens-per-second: 1", b"x-fairlead-cache: off")
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "slow"}]}
        await caller.send(post("/v1/chat/completions", json.dumps(body).encode(), *slow))
        assert await caller.head() == 200
        killing = asyncio.create_task(asyncio.to_thread(node.kill))
        await until(lambda: not any(map(_lives, workers)), "no worker is left")
        await killing
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(url)
    node.start()
    try:
        assert (await ask(node.url, chat("again"))).status == 200
    finally:
        assert node.stop() == 0


def _lives(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("cache", "refused"),
    [('persist = "off"', True), ('persist = "off"\npolicy = "off"', False)],
    ids=["a-cache-of-each", "no-cache"],
)
async def test_without_a_store_between_them_there_is_one_process(
    upstream: SimulatedServer, tmp_path: Path, cache: str, refused: bool
) -> None:
    """A purge would reach one worker only; where nothing is cached there is nothing to purge."""
    text = CONFIG.format(url=upstream.url).replace('persist = "all"', cache)
    if not refused:
        with NodeProcess(tmp_path, text) as node:
            assert len(node.workers()) == 2
        return
    (tmp_path / "fairlead.toml").write_text(text)
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "fairlead", "serve", "--port", "0", "--data-dir", "data"],
        cwd=tmp_path,
        env=clean_environ(tmp_path),
        capture_output=True,
        timeout=15,
    )
    assert ended.returncode == 2
    told = ended.stderr.decode()
    assert "server.workers" in told
    assert 'cache.persist = "off"' in told
    assert "Traceback" not in told

"""A node that is told to stop: what runs may finish, nothing new begins, and it ends well."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.nodeprocess import NodeProcess
from support.recordings import CHAT_EVENTS
from support.scripted import GatedStream, ScriptedUpstream
from support.wire import Client, client, post, until

CONFIG = """
[server]
shutdown_timeout = {deadline}
workers = {workers}

[[upstreams]]
name = "scripted"
shape = "openai"
base_url = "{url}/v1"
"""
REQUEST = post("/v1/chat/completions", b'{"model": "m", "stream": true}')
workers = pytest.mark.parametrize("workers", [1, 2])


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as opened:
        yield opened


def make_node(folder: Path, upstream: ScriptedUpstream, deadline: float, count: int) -> NodeProcess:
    return NodeProcess(folder, CONFIG.format(url=upstream.url, deadline=deadline, workers=count))


async def begin(node: NodeProcess, stream: GatedStream, opened: Client) -> None:
    """Ask for a stream and read its first event."""
    await opened.send(REQUEST)
    stream.let(2)
    assert await opened.head() == 200
    assert await opened.piece() == stream.events[0]


async def refused(url: str) -> bool:
    """Whether a new connection is refused."""
    try:
        opened = await Client.connect(url)
    except ConnectionRefusedError:
        return True
    await opened.close()
    return False


async def until_cut(opened: Client) -> None:
    """Return when the stream has ended early; fails where that could pass for its proper end."""
    try:
        assert b'"error"' in await opened.body()
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # no end at all is as clear


async def until_refused(url: str) -> None:
    async with asyncio.timeout(5):
        while not await refused(url):  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.02)


@workers
async def test_streams_finish(tmp_path: Path, upstream: ScriptedUpstream, workers: int) -> None:
    stream = GatedStream(CHAT_EVENTS)
    upstream.play(stream)
    with make_node(tmp_path, upstream, 8, workers) as node:
        url = node.url
        async with client(url) as opened, client(url) as idle:
            await begin(node, stream, opened)
            stopping = asyncio.create_task(asyncio.to_thread(node.stop))
            await until_refused(url)
            assert await idle._reader.read() == b"", "an idle connection is closed at once"
            assert not stopping.done()
            stream.let_all()
            assert await opened.body() == b"".join(CHAT_EVENTS[1:])
        assert await stopping == 0


@workers
async def test_streams_that_take_too_long_are_cut(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    stream = GatedStream(CHAT_EVENTS)
    upstream.play(stream)
    node = make_node(tmp_path, upstream, 0.5, workers)
    node.start()
    async with client(node.url) as opened:
        await begin(node, stream, opened)
        stopping = asyncio.create_task(asyncio.to_thread(node.stop))
        await until_cut(opened)
        assert await stopping == 0
    assert "Traceback" not in node.log()


@workers
async def test_a_second_interrupt_ends_it_at_once(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    stream = GatedStream(CHAT_EVENTS)
    upstream.play(stream)
    node = make_node(tmp_path, upstream, 60, workers)
    node.start()
    url = node.url
    async with client(url) as opened:
        await begin(node, stream, opened)
        os.kill(node.pid, signal.SIGINT)
        await until_refused(url)
        os.kill(node.pid, signal.SIGINT)
        await until_cut(opened)
        process = node._process
        assert process is not None
        await until(lambda: process.poll() is not None, "it has ended", 8)
        assert process.returncode == 0
        await asyncio.to_thread(node.stop)
    assert "Traceback" not in node.log()

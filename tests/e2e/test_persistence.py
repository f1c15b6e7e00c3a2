"""What a node still knows after kill -9 and a new start on the same data directory."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.nodeprocess import NodeProcess
from support.wire import Answer, ask, client, post, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIT = b"fairlead; hit"
STORED = b"fairlead; fwd=miss; stored"
CONFIG = """
[server]
shutdown_timeout = 2

[cache]
persist = "{persist}"

[[upstreams]]
name = "simulated"
shape = "simulated"
base_url = "{url}"
"""
QUICK = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=0, answer_tokens=40)
MakeNode = Callable[[str], NodeProcess]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(QUICK) as server:
        yield server


@pytest.fixture
def make_node(upstream: SimulatedServer, tmp_path: Path) -> MakeNode:
    """`make_node(persist)`: a node that is not started yet, with a data directory of its own."""

    def make(persist: str) -> NodeProcess:
        return NodeProcess(tmp_path, CONFIG.format(persist=persist, url=upstream.url))

    return make


def asked(upstream: SimulatedServer) -> int:
    return sum(upstream.statistics().requests.values())


def request(path: str, *fields: bytes, **more: Any) -> bytes:
    question = [{"role": "user", "content": "hello"}]
    body = {"model": "m", "temperature": 0, "max_tokens": 10_000, "messages": question, **more}
    return post(path, json.dumps(body).encode(), *fields)


REQUESTS = (
    request("/v1/chat/completions"),
    request("/v1/chat/completions", stream=True),
    request("/v1/messages", stream=True),
    request("/v1/responses", stream=True, input="hello"),
    request("/v1/embeddings", input="hello"),
)


async def answers(node: NodeProcess) -> list[Answer]:
    return [await ask(node.url, one) for one in REQUESTS]


async def persisted(node: NodeProcess, count: int) -> None:
    await until(lambda: node.cache()["persisted"] == count, f"{count} entries are persisted")


async def test_hits_after_kill_9(make_node: MakeNode, upstream: SimulatedServer) -> None:
    with make_node("all") as node:
        first = await answers(node)
        assert {answer.header(b"cache-status") for answer in first} == {STORED}
        await persisted(node, len(REQUESTS))
        before = asked(upstream)
        assert node.kill() == -9
        node.start()
        again = await answers(node)
        assert {answer.header(b"cache-status") for answer in again} == {HIT}
        assert [answer.body for answer in again] == [answer.body for answer in first]
        kinds = [answer.header(b"content-type") for answer in first]
        assert [answer.header(b"content-type") for answer in again] == kinds
        assert all((answer.header(b"age") or b"").isdigit() for answer in again)
        assert node.cache()["hits"] == {"memory": 0, "persistent": len(REQUESTS)}
        # What was found there is in memory now.
        await answers(node)
        assert node.cache()["hits"] == {"memory": len(REQUESTS), "persistent": len(REQUESTS)}
        assert asked(upstream) == before
        assert "WARN" not in node.log().upper()


async def test_killed_while_it_writes(make_node: MakeNode, upstream: SimulatedServer) -> None:
    requests = [request("/v1/chat/completions", stream=True, seed=seed) for seed in range(60)]
    with make_node("all") as node:
        first = [await ask(node.url, one) for one in requests]
        node.kill()
        node.start()
        before = asked(upstream)
        again = [await ask(node.url, one) for one in requests]
        hits = [answer.header(b"cache-status") == HIT for answer in again]
        assert asked(upstream) == before + hits.count(False)
        for hit, old, new in zip(hits, first, again, strict=True):
            assert new.body.endswith(b"data: [DONE]\n\n")
            assert not hit or new.body == old.body
        assert "WARN" not in node.log().upper()


def garbage(file: Path) -> None:
    file.write_bytes(b"this was a cache once " * 1000)


def of_another_program(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE entries (something TEXT)")
    connection.commit()
    connection.close()


def of_an_older_version(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 0")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("damage", [garbage, of_another_program, of_an_older_version])
async def test_an_unusable_file_is_set_aside(
    make_node: MakeNode, upstream: SimulatedServer, damage: Callable[[Path], None]
) -> None:
    with make_node("all") as node:
        await ask(node.url, REQUESTS[0])
        await persisted(node, 1)
        node.stop()
        file = node.data_dir / "responses.sqlite"
        damage(file)
        damaged = file.read_bytes()
        node.start()
        (warning,) = [line for line in node.log().splitlines() if "set aside" in line]
        assert json.loads(warning)["level"] == "warning"
        (aside,) = [one for one in node.data_dir.iterdir() if one.name in warning and one != file]
        assert aside.read_bytes() == damaged
        # It is a cache again at once.
        assert (await ask(node.url, REQUESTS[0])).header(b"cache-status") == STORED
        await persisted(node, 1)
        node.kill()
        node.start()
        assert (await ask(node.url, REQUESTS[0])).header(b"cache-status") == HIT


async def test_the_sixth_hit_makes_an_entry_last(
    make_node: MakeNode, upstream: SimulatedServer
) -> None:
    five, six = REQUESTS[1], REQUESTS[2]
    with make_node("high-value") as node:
        for one, hits in ((five, 5), (six, 6)):
            assert (await ask(node.url, one)).header(b"cache-status") == STORED
            for _ in range(hits):
                assert (await ask(node.url, one)).header(b"cache-status") == HIT
        # Writes keep their order: when the last one is there, no other can still come.
        await persisted(node, 1)
        before = asked(upstream)
        node.kill()
        node.start()
        assert (await ask(node.url, six)).header(b"cache-status") == HIT
        assert asked(upstream) == before
        assert (await ask(node.url, five)).header(b"cache-status") == STORED


def sized(tokens: int) -> list[bytes]:
    """Requests whose answers have so many tokens, in every shape, plain and streamed."""
    wish = b"x-simulate-events: %d" % tokens
    # That header is no part of what makes two requests the same, so the body differs as well.
    return [
        request(path, wish, seed=tokens, stream=stream, input="hello", **more)
        for path, more in (
            ("/v1/chat/completions", {"stream_options": {"include_usage": True}}),
            ("/v1/messages", {}),
            ("/v1/responses", {}),
        )
        for stream in (False, True)
    ]


async def test_more_than_4000_tokens_make_an_entry_last(make_node: MakeNode) -> None:
    small, large = sized(3500), sized(4001)
    with make_node("high-value") as node:
        for one in small + large:
            assert (await ask(node.url, one)).header(b"cache-status") == STORED
        await persisted(node, len(large))
        node.kill()
        node.start()
        for one in large:
            assert (await ask(node.url, one)).header(b"cache-status") == HIT
        for one in small:
            assert (await ask(node.url, one)).header(b"cache-status") == STORED


async def test_nothing_lasts_where_it_is_off(make_node: MakeNode) -> None:
    with make_node("off") as node:
        for _ in range(8):
            await ask(node.url, REQUESTS[0])
        assert node.cache()["persistent"] is None
        node.stop()
        assert list(node.data_dir.glob("responses*")) == []
        node.start()
        assert (await ask(node.url, REQUESTS[0])).header(b"cache-status") == STORED


async def test_what_was_purged_stays_away(make_node: MakeNode) -> None:
    with make_node("all") as node:
        await answers(node)
        await persisted(node, len(REQUESTS))
        key = (await ask(node.url, REQUESTS[0])).header(b"x-fairlead-cache-key") or b""
        purge = post(f"/api/cache?key={key.decode()}", b"", method="DELETE")
        assert json.loads((await ask(node.url, purge)).body) == {"purged": 1}
        node.kill()
        node.start()
        statuses = [answer.header(b"cache-status") for answer in await answers(node)]
        assert statuses == [STORED, *[HIT] * (len(REQUESTS) - 1)]


async def test_a_stop_waits_for_streams_and_keeps_what_they_brought(
    make_node: MakeNode, upstream: SimulatedServer
) -> None:
    pace = b"x-simulate-tokens-per-second: 100"
    streaming = request("/v1/chat/completions", pace, stream=True)
    with make_node("all") as node:
        async with client(node.url) as caller:
            await caller.send(streaming)
            await caller.head()
            begun = await caller.piece()
            stopping = asyncio.create_task(asyncio.to_thread(node.stop))
            whole = begun + await caller.body()
            assert await stopping == 0
        assert whole.endswith(b"data: [DONE]\n\n")
        node.start()
        again = await ask(node.url, streaming)
        assert (again.header(b"cache-status"), again.body) == (HIT, whole)

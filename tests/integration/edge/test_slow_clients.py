"""Clients that send slowly, read slowly, or go away: each has a deadline, nothing outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.lean import LeanLeg
from fairlead.testing.upstream import Caller, FlakyUpstream
from fairlead.web.protocol import Limits
from integration.edge.server import BODY, PATHS, EdgeServer, raw, statuses, told
from support.gateway import EVENTS, ScriptedLeg, ScriptedReply, make_upstream
from support.wire import Client, post, until

SHORT = Limits(header_timeout=0.05, body_timeout=0.05, write_timeout=0.05, discard_timeout=0.05)
STREAM = post("/v1/chat/completions", b'{"model": "m", "stream": true}')


@pytest_asyncio.fixture
async def strict(leg: ScriptedLeg) -> AsyncIterator[EdgeServer]:
    """An edge with the shortest deadlines."""
    upstream = make_upstream(leg, shape="simulated", models=["m"])
    async with EdgeServer(upstream, limits=SHORT, keep_alive=0.05) as opened:
        yield opened


@pytest.mark.parametrize(
    "start",
    [b"", b"\r\n\r\n", b"P", b"POST /v1/mess", b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-a"],
    ids=["nothing", "empty lines", "a letter", "a part of the line", "a part of a field"],
)
async def test_a_head_that_does_not_come_ends_the_connection(
    strict: EdgeServer, start: bytes
) -> None:
    assert await raw(strict.url, start) == b""


async def test_trickling_does_not_prolong_a_head(strict: EdgeServer) -> None:
    async with strict.connect() as client:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012 - which of them raises depends on the moment
            for _ in range(1000):
                await client.send(b"x")
                await asyncio.sleep(0.005)
            await client.head()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_told(
    strict: EdgeServer, path: str, framing: bytes
) -> None:
    async with strict.connect() as client:
        await client.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + framing + b"\r\n\r\n")
        answer = await client.answer()
    assert answer.status == 408
    assert "too slowly" in told(answer)


async def test_trickling_does_not_prolong_a_body(strict: EdgeServer) -> None:
    async with strict.connect() as client:
        await client.send(post("/v1/messages", bytes(10_000)).rstrip(b"\0"))

        async def trickle() -> None:
            while True:
                await client.send(b" ")
                await asyncio.sleep(0.005)

        sending = asyncio.create_task(trickle())
        answer = await client.answer()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert answer.status == 408


async def test_a_slow_body_for_other_paths_is_told(strict: EdgeServer) -> None:
    data = await raw(strict.url, b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert statuses(data) == [408]
    assert b"x-request-id: " in data


async def test_an_idle_connection_is_closed_after_its_answer(strict: EdgeServer) -> None:
    assert statuses(await raw(strict.url, post("/v1/messages", BODY))) == [200]


async def test_what_follows_a_refusal_is_taken_in_for_a_while_only(strict: EdgeServer) -> None:
    async with strict.connect() as client:
        assert (await client.ask(b"garbage\r\n\r\n")).status == 400
        with pytest.raises(ConnectionError):  # noqa: PT012 - which of them raises depends on the moment
            while True:
                await client.send(bytes(1000))
                await asyncio.sleep(0.005)


class TestReaders:
    """A client that takes nothing is dropped, and its upstream call with it."""

    async def test_a_flood_that_nobody_reads(self) -> None:
        gone = asyncio.Event()

        async def flood(caller: Caller) -> None:
            await caller.request()
            await caller.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            try:
                while True:
                    await caller.send(b"8000\r\n%b\r\n" % bytes(0x8000))
            finally:
                gone.set()

        async with FlakyUpstream(flood) as source:
            leg = LeanLeg(LegOptions(name="up", base_url=source.url))
            upstream = make_upstream(leg, models=["m"])  # type: ignore[arg-type]  # any leg will do
            async with EdgeServer(upstream, limits=SHORT) as edge, edge.connect() as client:
                client._writer.transport.pause_reading()
                await client.send(STREAM)
                async with asyncio.timeout(10):
                    await gone.wait()
                await edge.settle()
                assert edge.records[-1].outcome == "client_closed"

    async def test_the_end_of_an_answer_that_nobody_reads(self) -> None:
        """All of it was handed to the connection; only that holds it."""
        leg = ScriptedLeg(lambda _: ScriptedReply(body=bytes(20_000_000)))
        upstream = make_upstream(leg, models=["m"])
        async with EdgeServer(upstream, limits=SHORT) as edge, edge.connect() as client:
            client._writer.transport.pause_reading()
            await client.send(post("/v1/chat/completions", BODY))
            await edge.settle()

    async def test_a_large_answer_of_other_paths(self, strict: EdgeServer) -> None:
        async with strict.connect() as client:
            client._writer.transport.pause_reading()
            body = bytes(20_000_000)
            strict.limits = Limits(write_timeout=0.05)
            await client.send(post("/api/x", body))
            await strict.settle()

    async def test_a_slow_reader_gets_everything(self, leg: ScriptedLeg) -> None:
        leg.reactions = [lambda _: ScriptedReply(body=bytes(20_000_000))]
        async with EdgeServer(make_upstream(leg)) as edge, edge.connect() as client:
            client._writer.transport.pause_reading()
            await client.send(post("/v1/chat/completions", BODY))
            connection = edge.connection
            await until(lambda: connection.flow.write_paused, "it is paused")
            client._writer.transport.resume_reading()
            assert len((await client.answer()).body) == 20_000_000


class TestDepartures:
    """A client that goes away takes with it whatever was done for it."""

    @pytest.mark.parametrize("size", [0, 1, 10, 29])
    async def test_while_it_sends(self, edge: EdgeServer, leg: ScriptedLeg, size: int) -> None:
        async with edge.connect() as client:
            await client.send(post("/v1/messages", BODY)[: -len(BODY) + size])
            await until(lambda: edge.buffered == size, "it has come")
        await edge.settle()
        assert leg.requests == []

    @pytest.mark.parametrize("leaves", ["close", "reset", "half-close"])
    async def test_before_the_answer(self, edge: EdgeServer, leg: ScriptedLeg, leaves: str) -> None:
        leg.gate = asyncio.Event()
        async with edge.connect() as client:
            await client.send(post("/v1/messages", BODY))
            await until(lambda: len(leg.requests) == 1, "it was forwarded")
            await self._leave(client, leaves)
            await edge.settle()
        assert leg.cancelled == 1
        assert edge.records[-1].outcome == "client_closed"

    @pytest.mark.parametrize("leaves", ["close", "reset", "half-close"])
    async def test_in_the_middle_of_a_stream(
        self, edge: EdgeServer, leg: ScriptedLeg, leaves: str
    ) -> None:
        reply = ScriptedReply(headers=list(EVENTS))
        leg.reactions = [reply]
        async with edge.connect() as client:
            await client.send(STREAM)
            reply.feed(b"data: 1\n\n")
            await client.head()
            await client.piece()
            await self._leave(client, leaves)
            await edge.settle()
        assert reply.closed

    @staticmethod
    async def _leave(client: Client, how: str) -> None:
        if how == "close":
            await client.close()
        elif how == "reset":
            client.reset()
        else:
            client._writer.write_eof()

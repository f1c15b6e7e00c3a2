"""The server itself: sockets, disconnects, limits, closing."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fairlead.errors import ClosedError, ConfigurationError
from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer, Statistics

SLOW = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=20, answer_tokens=10_000)
BODY = json.dumps(
    {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
).encode()


def request(body: bytes = BODY, path: str = "/v1/chat/completions", extra: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


async def connect(server: SimulatedServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(server.url)
    return await asyncio.open_connection(address.hostname, address.port)


async def until(server: SimulatedServer, met: Callable[[Statistics], bool]) -> None:
    async with asyncio.timeout(5):
        while not met(server.statistics()):  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.002)  # the server has no event for it; the deadline is above


async def test_a_closed_client_ends_its_stream() -> None:
    async with SimulatedServer(SLOW) as server:
        for count in (1, 2):
            reader, writer = await connect(server)
            writer.write(request())
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b'"content":"Simu"')
            assert server.statistics().active == 1
            writer.close()
            await writer.wait_closed()
            await until(server, lambda now, count=count: now.cancelled == count)
            assert server.statistics().active == 0


async def test_a_client_that_closes_before_the_first_byte() -> None:
    async with SimulatedServer(SimulatedOptions(ttft=3600)) as server:
        _, writer = await connect(server)
        writer.write(request())
        await until(server, lambda now: now.active == 1)
        writer.close()
        await writer.wait_closed()
        await until(server, lambda now: now.cancelled == 1)


async def test_closing_breaks_streams_off_and_is_prompt(caplog: pytest.LogCaptureFixture) -> None:
    server = SimulatedServer(SLOW)
    await server.open()
    reader, writer = await connect(server)
    writer.write(request())
    await reader.readuntil(b'"content":')
    async with asyncio.timeout(5):
        await server.close()
        rest = await reader.read()
    assert b"[DONE]" not in rest
    assert server.statistics().active == 0
    writer.close()
    await writer.wait_closed()
    with pytest.raises(ClosedError):
        _ = server.url
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_does_not_read_cannot_hold_up_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fairlead.gateway.simulated.server._CLOSING", 0.05)
    fast = SimulatedOptions(ttft=0, prefill=0, tokens_per_second=0, answer_tokens=1_000_000)
    server = SimulatedServer(fast)
    await server.open()
    _, writer = await connect(server)
    writer.write(request())
    await until(server, lambda _: any(c.flow.write_paused for c in server._state.connections))
    async with asyncio.timeout(10):
        await server.close()
    assert server.statistics().cancelled == 1
    writer.transport.abort()


async def test_a_broken_stream_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async with SimulatedServer(SimulatedOptions(ttft=0, tokens_per_second=0)) as server:
        reader, writer = await connect(server)
        writer.write(request(extra="x-simulate-break-after: 3\r\n"))
        answer = await reader.read()
        assert answer.count(b"data: ") == 3
        assert not answer.endswith(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_connections_are_kept_alive() -> None:
    async with SimulatedServer(SimulatedOptions(ttft=0, tokens_per_second=0)) as server:
        reader, writer = await connect(server)
        for _ in range(3):
            writer.write(request())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert (await reader.readuntil(b"0\r\n\r\n")).count(b"[DONE]") == 1
        writer.close()
        await writer.wait_closed()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the server closes on the writing client
async def test_endless_headers_are_refused() -> None:
    async with SimulatedServer() as server:
        reader, writer = await connect(server)
        writer.write(b"GET /v1/models HTTP/1.1\r\n" + b"a: " + b"b" * 400_000)
        assert (await reader.read(12)) == b"HTTP/1.1 400"
        writer.transport.abort()


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.gateway.simulated.protocol._HEAD_SECONDS", 0.02)
    async with SimulatedServer() as server:
        for begin in (b"", b"GET /v1/models HTTP/1.1\r\n"):
            reader, writer = await connect(server)
            writer.write(begin)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


async def test_it_leaves_signals_and_logging_alone() -> None:
    def state() -> tuple[object, ...]:
        loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.access")]
        levels = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
        return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), levels

    before = state()
    async with SimulatedServer():
        assert state() == before
    assert state() == before


async def test_an_address_in_use_is_named() -> None:
    async with SimulatedServer() as server:
        port = urlsplit(server.url).port
        assert port is not None
        with pytest.raises(ConfigurationError, match="in use"):
            await SimulatedServer(port=port).open()


async def test_ipv6() -> None:
    server = SimulatedServer(host="::1")
    try:
        await server.open()
    except ConfigurationError as error:
        pytest.skip(f"no IPv6 here: {error}")
    async with server:
        assert server.url.startswith("http://[::1]:")


async def test_a_wrong_script_is_told_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("[[rule]]\n")
    with pytest.raises(ConfigurationError, match="rule 1"):
        await SimulatedServer(SimulatedOptions(script=path)).open()


async def test_many_streams_at_once() -> None:
    options = SimulatedOptions(ttft=0.01, prefill=0, tokens_per_second=200, answer_tokens=20)

    async def one(server: SimulatedServer) -> int:
        reader, writer = await connect(server)
        with closing(writer):
            writer.write(request(extra="connection: close\r\n"))
            events = (await reader.read()).count(b'"delta":{"content":')
        await writer.wait_closed()
        return events

    async with SimulatedServer(options) as server:
        assert await asyncio.gather(*(one(server) for _ in range(200))) == [20] * 200
        assert server.statistics().completed == 200

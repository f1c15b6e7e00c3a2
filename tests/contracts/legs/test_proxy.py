"""HTTP proxies: absolute-form requests, and tunnels for TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from contracts.legs.scenario import OpenLeg, drained, ok, post, until
from contracts.legs.test_tls import named, pki, tls
from fairlead.errors import UpstreamUnreachableError
from fairlead.gateway.legs import make_leg
from fairlead.gateway.legs.aiohttp import AiohttpLeg
from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.lean import LeanLeg
from fairlead.testing import Caller, FlakyUpstream, answering

__all__ = ["pki", "tls"]  # fixtures
Give = Callable[[bytes], Awaitable[None]]


def test_the_leg_is_chosen_by_the_proxy_setting() -> None:
    plain = LegOptions(name="up", base_url="http://upstream")
    proxied = LegOptions(name="up", base_url="http://upstream", proxy="http://proxy:3128")
    assert isinstance(make_leg(plain), LeanLeg)
    assert isinstance(make_leg(proxied), AiohttpLeg)


async def test_a_proxy_is_asked_in_absolute_form(open_aiohttp: OpenLeg) -> None:
    async with (
        FlakyUpstream(answering(ok(b"by proxy"))) as proxy,
        open_aiohttp("http://upstream.invalid:8000", proxy=proxy.url) as leg,
    ):
        for _ in range(2):
            reply = await leg.send(post(target=b"/v1/a%2Fb?x=%20"))
            assert await drained(reply) == b"by proxy"
        assert proxy.connections == 1
        assert (
            proxy.requests[0].line == b"POST http://upstream.invalid:8000/v1/a%2Fb?x=%20 HTTP/1.1"
        )
        assert proxy.requests[0].header(b"host") == b"upstream.invalid:8000"


async def test_the_proxys_credentials_go_to_the_proxy(open_aiohttp: OpenLeg) -> None:
    async with FlakyUpstream(answering(ok())) as proxy:
        url = proxy.url.replace("://", "://user:word@")
        async with open_aiohttp("http://upstream.invalid", proxy=url) as leg:
            await drained(await leg.send(post()))
        assert proxy.requests[0].header(b"proxy-authorization") == b"Basic dXNlcjp3b3Jk"


async def test_tls_goes_through_a_tunnel(
    open_aiohttp: OpenLeg, pki: Path, tls: ssl.SSLContext
) -> None:
    tunnels: list[bytes] = []

    async def tunnel(caller: Caller) -> None:
        request = await caller.head()
        assert request is not None
        tunnels.append(request.line)
        target = request.line.split(b" ")[1].decode()
        reader, writer = await asyncio.open_connection(*target.rsplit(":", 1))
        await caller.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = asyncio.ensure_future(pump(reader.read, caller.send))
        await pump(caller.receive, lambda data: sent(writer, data))
        back.cancel()
        writer.transport.abort()

    async with (
        FlakyUpstream(answering(ok(b"tunnelled")), tls=tls) as upstream,
        FlakyUpstream(tunnel) as proxy,
        open_aiohttp(named(upstream), proxy=proxy.url, ca_bundle=pki / "ca.pem") as leg,
    ):
        for _ in range(2):
            assert await drained(await leg.send(post())) == b"tunnelled"
        assert tunnels == [b"CONNECT localhost:%d HTTP/1.1" % upstream.port]


async def pump(take: Callable[[int], Awaitable[bytes]], give: Give) -> None:
    while data := await take(65_536):
        await give(data)


async def sent(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there(open_aiohttp: OpenLeg, scheme: str) -> None:
    async with FlakyUpstream(answering(ok())) as gone:
        url = gone.url
    async with open_aiohttp(f"{scheme}://upstream.invalid", proxy=url) as leg:
        with pytest.raises(UpstreamUnreachableError):
            await leg.send(post())


async def test_a_proxy_that_refuses_the_tunnel(open_aiohttp: OpenLeg) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    async with (
        FlakyUpstream(answering(refusal)) as proxy,
        open_aiohttp("https://upstream.invalid", proxy=proxy.url) as leg,
    ):
        with pytest.raises(UpstreamUnreachableError, match="403"):
            await leg.send(post())
        await until(lambda: leg.statistics().connections == 0)

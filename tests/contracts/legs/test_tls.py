"""TLS: authorities, names, and the end of the connection."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from contracts.legs.scenario import OpenLeg, drained, ok, post, until
from fairlead.errors import ConfigurationError, UpstreamBrokenError, UpstreamUnreachableError
from fairlead.testing import Caller, FlakyUpstream, answering

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = fairlead test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
subjectAltName = DNS:localhost
authorityKeyIdentifier = keyid
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.pem`, `server.pem` and `server.key` (for `localhost`)."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing: apt-get install openssl")
        pytest.skip("openssl is missing: apt-get install openssl")
    where = tmp_path_factory.mktemp("pki")
    (where / "config").write_text(CONFIG)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=where, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    common = (*key, "-config", "config")
    openssl("req", "-x509", *common, "-keyout", "ca.key", "-out", "ca.pem", "-extensions=authority")
    openssl("req", "-new", *common, "-keyout", "server.key", "-out", "server.csr")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "config", "-extensions", "server")
    openssl("x509", "-req", "-in", "server.csr", *sign, "-out", "server.pem")
    return where


@pytest.fixture
def tls(pki: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    return context


def named(upstream: FlakyUpstream) -> str:
    return f"https://localhost:{upstream.port}"


async def test_a_bundle_makes_a_private_authority_known(
    open_leg: OpenLeg, pki: Path, tls: ssl.SSLContext
) -> None:
    asked: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with (
        FlakyUpstream(answering(ok(b"x" * 300_000)), tls=tls) as upstream,
        open_leg(named(upstream), ca_bundle=pki / "ca.pem") as leg,
    ):
        for _ in range(3):
            body = bytes(range(256)) * 1000
            assert await drained(await leg.send(post(body))) == b"x" * 300_000
            assert upstream.requests[-1].body == body
        assert upstream.connections == 1
        assert asked == ["localhost"]


async def test_an_unknown_authority_is_refused(open_leg: OpenLeg, tls: ssl.SSLContext) -> None:
    async with (
        FlakyUpstream(answering(ok()), tls=tls) as upstream,
        open_leg(named(upstream), max_connections=1) as leg,
    ):
        for _ in range(2):
            with pytest.raises(UpstreamUnreachableError, match="certificate"):
                await leg.send(post())
        assert not upstream.requests


async def test_another_name_is_refused(open_leg: OpenLeg, pki: Path, tls: ssl.SSLContext) -> None:
    async with (
        FlakyUpstream(answering(ok()), tls=tls) as upstream,
        open_leg(upstream.url, ca_bundle=pki / "ca.pem") as leg,
    ):
        with pytest.raises(UpstreamUnreachableError, match="certificate"):
            await leg.send(post())


async def test_plain_http_where_tls_was_expected(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.send(b"HTTP/1.1 400 This is HTTP\r\n\r\n")

    async with (
        FlakyUpstream(script) as upstream,
        open_leg(named(upstream)) as leg,
    ):
        with pytest.raises(UpstreamUnreachableError):
            await leg.send(post())


async def test_a_missing_bundle_is_named(open_leg: OpenLeg, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"upstreams\.up\.ca_bundle"):
        async with open_leg("https://localhost", ca_bundle=tmp_path / "none.pem"):
            pass


async def test_a_flood_over_tls_is_held_back(
    open_leg: OpenLeg, pki: Path, tls: ssl.SSLContext
) -> None:
    body = bytes(range(256)) * 40_000
    async with (
        FlakyUpstream(answering(ok(body)), tls=tls) as upstream,
        open_leg(named(upstream), ca_bundle=pki / "ca.pem", read_size=16_384) as leg,
    ):
        for _ in range(2):
            reply = await leg.send(post())
            pieces = [reply.read_nowait()]
            while piece := await reply.read():
                pieces.append(piece)
                await asyncio.sleep(0)
            assert b"".join(pieces) == body
            assert max(map(len, pieces)) <= 16_384
        assert upstream.connections == 1


async def test_a_reply_given_up_closes_at_once(
    open_leg: OpenLeg, pki: Path, tls: ssl.SSLContext
) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await caller.gone()

    async with (
        FlakyUpstream(script, tls=tls) as upstream,
        open_leg(named(upstream), ca_bundle=pki / "ca.pem") as leg,
    ):
        reply = await leg.send(post())
        assert await reply.read() == b"half"
        reply.close()
        await until(lambda: upstream.gone == 1)


async def test_a_body_without_a_length_needs_an_orderly_end(
    open_lean: OpenLeg, pki: Path, tls: ssl.SSLContext
) -> None:
    # The lean leg only: aiohttp does not tell TLS's own end from a cut connection.
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\n\r\nwhole")
        if caller.number == 1:
            await taken.wait()
            caller.reset()

    taken = asyncio.Event()
    async with (
        FlakyUpstream(script, tls=tls) as upstream,
        open_lean(named(upstream), ca_bundle=pki / "ca.pem") as leg,
    ):
        assert await drained(await leg.send(post())) == b"whole"
        reply = await leg.send(post())
        assert await reply.read() == b"whole"
        taken.set()
        with pytest.raises(UpstreamBrokenError):
            await reply.read()

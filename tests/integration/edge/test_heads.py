"""Heads that nobody should send, and odd ones that somebody does."""

from __future__ import annotations

import pytest

from fairlead.web.middleware import LocalIdentity
from integration.edge.server import BODY, PATHS, EdgeServer, raw, statuses, told
from support.gateway import ScriptedLeg, make_upstream
from support.wire import ask, post

LENGTH = b"Content-Length: %d\r\n" % len(BODY)
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
"""What a smuggler hides in what it declares to be a body."""

REFUSED = {
    "a bare line feed in a value": b"X-A: 1\n\r\n",
    "a carriage return in a value": b"X-A: 1\rX-B: 2\r\n",
    "a NUL in a value": b"X-A: 1\x002\r\n",
    "a NUL in a name": b"X\x00A: 1\r\n",
    "a folded line": b"X-A: 1\r\n  folded\r\n",
    "a space before the colon": b"X-A : 1\r\n",
    "a space in a name": b"X A: 1\r\n",
    "no name": b": 1\r\n",
    "no colon": b"nonsense\r\n",
    "two lengths": LENGTH + b"Content-Length: 5\r\n",
    "two equal lengths": LENGTH + LENGTH,
    "a list of lengths": b"Content-Length: 5, 5\r\n",
    "length and chunks": LENGTH + b"Transfer-Encoding: chunked\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\n" + LENGTH,
    "a negative length": b"Content-Length: -5\r\n",
    "a signed length": b"Content-Length: +5\r\n",
    "a huge length": b"Content-Length: %d\r\n" % 10**30,
    "a length in hexadecimal": b"Content-Length: 0x5\r\n",
    "no length": b"Content-Length: \r\n",
    "chunked not last": b"Transfer-Encoding: chunked, identity\r\n",
    "chunked hidden": b"Transfer-Encoding: xchunked\r\n",
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
async def test_an_unclear_head_is_refused(
    edge: EdgeServer, leg: ScriptedLeg, fields: bytes
) -> None:
    """And whatever might be taken for a second request behind it is not looked at."""
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    data = await raw(edge.url, head + b"0\r\n\r\n" + HIDDEN)
    assert statuses(data) == [400]
    assert b"x-request-id: " in data
    assert b"connection: close" in data
    assert leg.requests == []


@pytest.mark.parametrize(
    "line",
    [
        b"GET",
        b"GET  HTTP/1.1",
        b"GET /v1/models HTTP/9.9",
        b"GET /v1/models HTTP/1.1 x",
        b"FETCH /v1/models HTTP/1.1",
        b"get /v1/models HTTP/1.1",
        b"GET /v1/mo dels HTTP/1.1",
        b"GET /v1/\x00 HTTP/1.1",
        b"GET \xff HTTP/1.1",
        b"GET healthz HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET http://x:99999999/ HTTP/1.1",
        b"CONNECT example.com:443 HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_a_bad_request_line_is_refused(
    edge: EdgeServer, leg: ScriptedLeg, line: bytes
) -> None:
    data = await raw(edge.url, line + b"\r\nHost: x\r\n\r\n")
    assert statuses(data) == [400]
    assert b"x-request-id: " in data
    assert leg.requests == []


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /v1/models HTTP/1.1\r\n", b"x-a: " + b"v" * 1000 + b"\r\n"),
        (b"GET /v1/models HTTP/1.1\r\nx-a: ", b"v" * 1000),
        (b"GET /v1/models HTTP/1.1\r\n", b"v" * 1000),
        (b"GET /healthz HTTP/1.1\r\n", b"a:\r\n" * 250),
        (b"GET /v1/", b"v" * 1000),
        (b"GET /v1/models?", b"v" * 1000),
    ],
    ids=["fields", "value", "name", "tiny fields", "path", "query"],
)
async def test_an_endless_head_is_refused(edge: EdgeServer, start: bytes, piece: bytes) -> None:
    data = await raw(edge.url, start, *[piece] * 500)
    assert statuses(data) == [431]
    assert b"x-request-id: " in data


async def test_a_whole_head_that_is_too_large_is_refused(edge: EdgeServer) -> None:
    data = await raw(
        edge.url, b"GET /v1/models HTTP/1.1\r\nx-a: " + b"v" * 100_000 + b"\r\n\r\n" + HIDDEN
    )
    assert statuses(data) == [431]


async def test_a_large_body_in_one_piece_with_its_head_is_none_too_large(edge: EdgeServer) -> None:
    body = b'{"model": "m", "messages": "' + b"v" * 200_000 + b'"}'
    assert (await ask(edge.url, post("/v1/messages", body))).status == 200


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
class TestUpgrades:
    """An offer of another protocol is declined by going on in this one."""

    OFFERS = pytest.mark.parametrize(
        "offer",
        [
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            b"Upgrade: h2c\r\nConnection: keep-alive\r\nConnection: upgrade\r\n",
        ],
        ids=["websocket", "h2c", "two fields"],
    )

    @OFFERS
    async def test_with_a_body(
        self, edge: EdgeServer, leg: ScriptedLeg, path: str, offer: bytes
    ) -> None:
        request = post(path, BODY, offer.rstrip())
        async with edge.connect() as client:
            for _ in range(2):
                assert (await client.ask(request)).status == 200
                assert leg.requests[-1].body == BODY
                assert not {b"upgrade", b"http2-settings"} & dict(leg.requests[-1].headers).keys()

    @OFFERS
    async def test_byte_by_byte(
        self, edge: EdgeServer, leg: ScriptedLeg, path: str, offer: bytes
    ) -> None:
        async with edge.connect() as client:
            for byte in post(path, BODY, offer.rstrip()):
                await client.send(bytes([byte]))
            assert (await client.answer()).status == 200
        assert leg.requests[-1].body == BODY

    @OFFERS
    async def test_without_a_body(self, edge: EdgeServer, path: str, offer: bytes) -> None:
        async with edge.connect() as client:
            await client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n")
            assert (await client.answer()).status == 200
            assert (await client.ask(post(path, BODY))).status == 200

    async def test_closing_is_still_agreed(self, edge: EdgeServer, path: str) -> None:
        request = post(path, BODY, b"Connection: close, upgrade", b"Upgrade: x")
        data = await raw(edge.url, request + HIDDEN)
        assert statuses(data) == [200]
        assert b"connection: close" in data


async def test_many_offers_in_one_piece_are_declined_one_by_one(edge: EdgeServer) -> None:
    offer = b"GET /v1/files/../x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n"
    data = await raw(edge.url, offer * 1500 + b"GET /v1/x HTTP/1.0\r\n\r\n")
    assert statuses(data) == [400] * 1500 + [200]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"mine-1", True),
        (b"~" * 128, True),
        (b"~" * 129, False),
        (b"with space", False),
        (b"", False),
        (b"caf\xc3\xa9", False),
        (b"tab\tbed", False),
    ],
)
async def test_a_request_id_is_kept_if_it_is_sane(
    edge: EdgeServer, value: bytes, *, kept: bool
) -> None:
    for body in (BODY, b"{"):
        answer = await ask(edge.url, post("/v1/messages", body, b"X-Request-Id: " + value))
        chosen = answer.header(b"x-request-id")
        assert chosen
        assert (chosen == value) is kept


async def test_http_1_0_is_answered_and_closed(edge: EdgeServer) -> None:
    request = post("/v1/messages", BODY).replace(b"HTTP/1.1", b"HTTP/1.0")
    data = await raw(edge.url, request + HIDDEN)
    assert statuses(data) == [200]
    assert b"transfer-encoding" not in data
    assert data.endswith(b'{"ok": true}')


@pytest.mark.parametrize("line", [b"GET /v1/models/m", b"GET /v1/models/m HTTP/2.0"])
async def test_other_versions_are_treated_as_1_0(edge: EdgeServer, line: bytes) -> None:
    assert statuses(await raw(edge.url, line + b"\r\n\r\n" + HIDDEN)) == [200]


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_http_1_0_is_not_told_to_continue(edge: EdgeServer, expect: bytes) -> None:
    head = b"POST /v1/messages HTTP/1.0\r\n" + expect + LENGTH + b"\r\n"
    assert statuses(await raw(edge.url, head, BODY)) == [200]


async def test_head_has_no_body(edge: EdgeServer) -> None:
    async with edge.connect() as client:
        await client.send(post("/v1/models/m", b"", method="HEAD"))
        assert await client.head(bodiless=True) == 200
        await client.send(post("/v1/models/nobody", b"", method="HEAD"))
        assert await client.head(bodiless=True) == 404
        assert (await client.ask(post("/v1/messages", BODY))).status == 200


async def test_options_goes_its_way(edge: EdgeServer, leg: ScriptedLeg) -> None:
    assert (await ask(edge.url, post("/v1/models/m", b"", method="OPTIONS"))).status == 200
    assert leg.requests[-1].method == b"OPTIONS"


async def test_the_absolute_form_is_understood(edge: EdgeServer, leg: ScriptedLeg) -> None:
    """RFC 9112 section 3.2.2."""
    answer = await ask(edge.url, post("http://somewhere/v1/messages?a=1", BODY))
    assert answer.status == 200
    assert leg.requests[-1].target == b"/v1/v1/messages?a=1"


async def test_a_client_may_wait_to_be_asked_for_the_body(edge: EdgeServer) -> None:
    async with edge.connect() as client:
        head, body = post("/v1/messages", BODY, b"Expect: 100-continue").split(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        assert await client.head(bodiless=True) == 100
        assert (await client.ask(body)).status == 200


async def test_a_client_that_waits_to_be_asked_may_be_refused(edge: EdgeServer) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    data = await raw(edge.url, head + b"Content-Length: 999999999\r\n\r\n")
    assert statuses(data) == [413]


async def test_a_foreign_host_is_refused_in_shape(leg: ScriptedLeg) -> None:
    async with EdgeServer(make_upstream(leg), identity=LocalIdentity()) as edge:
        answer = await ask(edge.url, post("/v1/messages", BODY, b"Host: node.test"))
        assert answer.status == 403
        assert "node.test" in told(answer)
    assert leg.requests == []

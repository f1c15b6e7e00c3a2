"""What goes out and how answers are taken apart."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from contracts.legs.scenario import OpenLeg, drained, get, ok, post, until
from fairlead.errors import RequestError, UpstreamBrokenError
from fairlead.gateway.legs.base import LegRequest
from fairlead.testing import Caller, FlakyUpstream, answering

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_sends_the_request_as_given_and_adds_only_framing(open_leg: OpenLeg) -> None:
    headers = [(b"x-b", b"1"), (b"anthropic-beta", b"a"), (b"x-b", b"2"), (b"cookie", b"c=1; d=2")]
    target = b"/v1/a%2Fb/./..;p=%C3%A9//c?beta=true&q=a+b%20c&e="
    async with FlakyUpstream(answering(ok())) as upstream, open_leg(upstream.url) as leg:
        await drained(await leg.send(LegRequest(b"POST", target, headers, b"body")))
        (sent,) = upstream.requests
        port = upstream.port
    assert sent.line == b"POST " + target + b" HTTP/1.1"
    assert sent.body == b"body"
    fields = [(name.lower(), value) for name, value in sent.headers]
    assert [field for field in fields if field in headers] == headers
    assert {field for field in fields if field not in headers} == {
        (b"host", b"127.0.0.1:%d" % port),
        (b"content-length", b"4"),
    }


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
async def test_an_empty_body_is_framed_where_a_method_has_one(
    open_leg: OpenLeg, method: bytes
) -> None:
    async with FlakyUpstream(answering(ok())) as upstream, open_leg(upstream.url) as leg:
        await drained(await leg.send(get(method=method)))
        (sent,) = upstream.requests
    assert sent.header(b"content-length") == (None if method == b"GET" else b"0")
    assert sent.header(b"transfer-encoding") is None
    assert sent.header(b"content-type") is None


@pytest.mark.parametrize("size", [65_535, 65_536, 3_000_000])
async def test_large_requests_go_out_whole(open_leg: OpenLeg, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    async with FlakyUpstream(answering(ok())) as upstream, open_leg(upstream.url) as leg:
        await drained(await leg.send(post(body)))
        assert upstream.requests[0].body == body


async def test_an_ipv6_address_is_reached(open_leg: OpenLeg) -> None:
    async with FlakyUpstream(answering(ok()), host="::1") as upstream:
        async with open_leg(upstream.url) as leg:
            assert await drained(await leg.send(post())) == b"ok"
        assert upstream.requests[0].header(b"host") == b"[::1]:%d" % upstream.port


HOSTILE_REQUESTS = {
    "line break in a value": LegRequest(b"POST", b"/", [(b"a", b"b\r\nx: y")], b""),
    "bare line feed": LegRequest(b"POST", b"/", [(b"a", b"b\nx: y")], b""),
    "NUL in a value": LegRequest(b"POST", b"/", [(b"a", b"b\0")], b""),
    "line break in a name": LegRequest(b"POST", b"/", [(b"a\r\nx", b"b")], b""),
    "space in the target": LegRequest(b"POST", b"/ HTTP/1.1\r\nx: y\r\n\r\n", [], b""),
    "target that moves the host": LegRequest(b"POST", b"@elsewhere/", [], b""),
    "target with a fragment": LegRequest(b"POST", b"/a#b", [], b""),
    "line break in the method": LegRequest(b"GET / HTTP/1.1\r\n", b"/", [], b""),
    "no method": LegRequest(b"", b"/", [], b""),
}


@pytest.mark.parametrize("request_", HOSTILE_REQUESTS.values(), ids=HOSTILE_REQUESTS.keys())
async def test_a_request_that_would_inject_is_refused(
    open_leg: OpenLeg, request_: LegRequest
) -> None:
    async with FlakyUpstream(answering(ok())) as upstream, open_leg(upstream.url) as leg:
        with pytest.raises(RequestError) as caught:
            await leg.send(request_)
        assert leg.statistics().connections == 0
    assert caught.value.status == 400
    assert upstream.connections == 0


ANSWERS = {
    "content-length": (ok(b"hello"), b"hello"),
    "content-length 0": (ok(b""), b""),
    "chunked": (CHUNKED + b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\n\r\n", b"hello"),
    "chunked with trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-t: 1\r\ny: 2\r\n\r\n", b"hello"),
    "chunked, empty": (CHUNKED + b"0\r\n\r\n", b""),
    "after informational answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        + ok(b"hello"),
        b"hello",
    ),
    "no reason phrase": (b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", b"hello"),
}


@pytest.mark.parametrize("wire", ANSWERS.values(), ids=ANSWERS.keys())
async def test_bodies_end_where_they_should_and_the_connection_is_kept(
    open_leg: OpenLeg, wire: tuple[bytes, bytes]
) -> None:
    answer, body = wire
    async with FlakyUpstream(answering(answer)) as upstream, open_leg(upstream.url) as leg:
        for _ in range(3):
            reply = await leg.send(post())
            assert reply.status == 200
            assert not any(name == b"link" for name, _ in reply.headers)
            assert await drained(reply) == body
            assert await reply.read() == b""
        assert upstream.connections == 1
        assert leg.statistics().idle == 1


UNTIL_CLOSE = {
    "no length": b"HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "a coding other than chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("head", UNTIL_CLOSE.values(), ids=UNTIL_CLOSE.keys())
async def test_a_body_without_a_length_ends_with_the_connection(
    open_leg: OpenLeg, head: bytes
) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(head + b"hel")
        await caller.send(b"lo")

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        assert await drained(await leg.send(post())) == b"hello"
        assert leg.statistics().connections == 0


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    ],
    ids=["HEAD", "HEAD chunked", "204", "304"],
)
async def test_answers_without_a_body(open_leg: OpenLeg, method: bytes, head: bytes) -> None:
    async with FlakyUpstream(answering(head, ok(b"next"))) as upstream:
        async with open_leg(upstream.url) as leg:
            reply = await leg.send(get(method=method))
            assert await drained(reply) == b""
            assert await drained(await leg.send(get())) == b"next"
        assert upstream.connections == 1


async def test_fields_keep_order_and_duplicates_and_lose_only_case(open_leg: OpenLeg) -> None:
    head = b"Set-Cookie: a=1\r\nX-Empty:\r\nset-cookie: b=2\r\nX-Odd:  \xe9 b \r\n"
    async with FlakyUpstream(answering(ok(extra=head))) as upstream:
        async with open_leg(upstream.url) as leg:
            reply = await leg.send(post())
            await drained(reply)
            await drained(await leg.send(post()))
        assert upstream.requests[1].header(b"cookie") is None
    assert reply.headers == [
        (b"set-cookie", b"a=1"),
        (b"x-empty", b""),
        (b"set-cookie", b"b=2"),
        (b"x-odd", b"\xe9 b"),
        (b"content-length", b"2"),
    ]


async def test_compressed_bodies_and_redirects_pass_as_they_are(open_leg: OpenLeg) -> None:
    packed = gzip.compress(b"hello" * 100)
    moved = b"HTTP/1.1 307 Moved\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"
    answers = answering(ok(packed, b"content-encoding: gzip\r\n"), moved)
    async with FlakyUpstream(answers) as upstream, open_leg(upstream.url) as leg:
        assert await drained(await leg.send(post())) == packed
        assert (await leg.send(post())).status == 307


BROKEN_HEADS = {
    "garbage": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "binary": bytes(range(256)),
    "silence, then close": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "bad status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "status out of range": b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
    "unasked upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunked": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    "bad field name": b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
}


@pytest.mark.parametrize("wire", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
async def test_a_broken_head_is_an_error_and_not_repeated(open_leg: OpenLeg, wire: bytes) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(wire)

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        with pytest.raises(UpstreamBrokenError, match="'up'"):
            await leg.send(post())
        assert upstream.connections == 1
        assert leg.statistics().errors == 1
        await until(lambda: leg.statistics().connections == 0)


@pytest.mark.parametrize("line", [b"x: " + b"y" * 60_000, b"x: y\r\n" * 5000], ids=["one", "many"])
async def test_an_endless_head_is_cut_off(open_leg: OpenLeg, line: bytes) -> None:
    sent = 0

    async def script(caller: Caller) -> None:
        nonlocal sent
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\n")
        for _ in range(1000):
            await caller.send(line)
            sent += len(line)

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        with pytest.raises(UpstreamBrokenError):
            await leg.send(post())
    assert sent < 20_000_000  # what the sockets hold, not the 30 and 60 MB it would send


@pytest.mark.parametrize(("size", "fits"), [(3000, True), (5000, False)])
async def test_the_head_has_a_limit_of_its_own(open_leg: OpenLeg, size: int, fits: bool) -> None:
    answer = ok(b"b" * 5000, extra=b"x: %b\r\n" % (b"y" * size))
    async with (
        FlakyUpstream(answering(answer)) as upstream,
        open_leg(upstream.url, max_header_bytes=4096) as leg,
    ):
        if fits:
            assert await drained(await leg.send(post())) == b"b" * 5000
        else:
            with pytest.raises(UpstreamBrokenError):
                await leg.send(post())


async def test_endless_trailers_are_cut_off(open_lean: OpenLeg) -> None:
    # The lean leg only: aiohttp bounds a trailer's length and number by its own constants.
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(CHUNKED + b"2\r\nok\r\n0\r\n")
        for _ in range(1000):
            await caller.send(b"x: " + b"y" * 60_000)

    async with FlakyUpstream(script) as upstream, open_lean(upstream.url) as leg:
        reply = await leg.send(post())
        assert await reply.read() == b"ok"
        with pytest.raises(UpstreamBrokenError):
            await reply.read()


BROKEN_BODIES = {
    "too short": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", b""),
    "chunk too short": (CHUNKED + b"a\r\nhalf", b""),
    "no last chunk": (CHUNKED + b"4\r\nhalf\r\n", b""),
    "bad chunk size": (CHUNKED + b"4\r\nhalf\r\n", b"zz\r\n"),
    "huge chunk size": (CHUNKED + b"4\r\nhalf\r\n", b"fffffffffffffffffffff\r\n"),
    "no line break after a chunk": (CHUNKED + b"4\r\nhalf", b"half\r\n"),
}
each_broken_body = pytest.mark.parametrize("wire", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())


@each_broken_body
async def test_a_body_that_breaks_is_an_error(open_leg: OpenLeg, wire: tuple[bytes, bytes]) -> None:
    taken = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(wire[0])
        await taken.wait()
        await caller.send(wire[1])

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        reply = await leg.send(post())
        assert await reply.read() == b"half"
        taken.set()
        for _ in range(2):
            with pytest.raises(UpstreamBrokenError):
                await reply.read()
        assert not reply.complete
        assert leg.statistics().errors == 1
        await until(lambda: leg.statistics().connections == 0)


@each_broken_body
async def test_what_came_before_a_break_is_handed_out_first(
    open_lean: OpenLeg, wire: tuple[bytes, bytes]
) -> None:
    # The lean leg only: aiohttp loses what came in the same read as malformed bytes.
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"".join(wire))

    async with FlakyUpstream(script) as upstream, open_lean(upstream.url) as leg:
        reply = await leg.send(post())
        await until(lambda: leg.statistics().connections == 0)
        assert reply.read_nowait() == b"half"
        assert reply.read_nowait() == b""
        assert not reply.complete
        with pytest.raises(UpstreamBrokenError):
            await reply.read()


async def test_a_reset_does_not_end_a_body_without_a_length(open_leg: OpenLeg) -> None:
    taken = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await taken.wait()
        caller.reset()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        reply = await leg.send(post())
        assert await reply.read() == b"half"
        taken.set()
        with pytest.raises(UpstreamBrokenError):
            await reply.read()


async def test_an_answer_after_the_answer_answers_nothing(open_leg: OpenLeg) -> None:
    await _ends_the_connection(open_leg, ok(b"bad"))


async def test_garbage_after_an_answer_does_it_no_harm(open_lean: OpenLeg) -> None:
    # The lean leg only: aiohttp refuses the answer together with what follows in the same read.
    await _ends_the_connection(open_lean, b"x")


async def _ends_the_connection(open_leg: OpenLeg, extra: bytes) -> None:
    async with FlakyUpstream(answering(ok(b"good") + extra)) as upstream:
        async with open_leg(upstream.url) as leg:
            for _ in range(2):
                assert await drained(await leg.send(post())) == b"good"
        assert upstream.connections == 2

"""Bodies that nobody should send: a clear error in the API's own shape, and no memory for it."""

from __future__ import annotations

import gzip
import json

import pytest

from fairlead.web.protocol import Limits
from integration.edge.server import BODY, PATHS, EdgeServer, raw, statuses, told
from support.gateway import ScriptedLeg, ScriptedReply, make_upstream
from support.wire import ask, post, until

BIG = 100 * 1024 * 1024
PIECE = bytes(1 << 20)
every_api = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@every_api
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model": "m"', "not valid JSON"),
        (b'{"model": "m"} x', "not valid JSON"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b"[]", "JSON object"),
        (b'"m"', "JSON object"),
        (b"null", "JSON object"),
        (b'{"model": 7}', "model must be a string"),
        (b'{"model": null}', "model"),
        (b'{"model": ""}', "model is missing"),
        (b"{}", "model is missing"),
    ],
)
async def test_what_is_no_request_is_refused(
    edge: EdgeServer, leg: ScriptedLeg, path: str, body: bytes, message: str
) -> None:
    answer = await ask(edge.url, post(path, body))
    assert answer.status == 400
    assert message in told(answer)
    assert leg.requests == []


@every_api
@pytest.mark.parametrize(
    "field",
    [b'"stream": "yes"', b'"temperature": []', b'"messages": 7', b'"store": {}', b'"tools": "x"'],
)
async def test_wrong_types_elsewhere_are_the_upstreams_to_judge(
    edge: EdgeServer, leg: ScriptedLeg, path: str, field: bytes
) -> None:
    body = b'{"model": "m", %b}' % field
    assert (await ask(edge.url, post(path, body))).status == 200
    assert leg.requests[-1].body == body


@every_api
async def test_an_unknown_model_is_told_the_known_ones(edge: EdgeServer, path: str) -> None:
    answer = await ask(edge.url, post(path, b'{"model": "nobody"}'))
    assert answer.status == 404
    assert "nobody" in told(answer)
    assert "m" in told(answer).split("nobody")[1]


@every_api
@pytest.mark.parametrize("depth", [10_000, 100_000])
@pytest.mark.parametrize("setting", [b"", b'"temperature": 0, '], ids=["uncacheable", "cacheable"])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
async def test_deep_nesting_is_refused(
    edge: EdgeServer, path: str, depth: int, setting: bytes, brackets: tuple[bytes, bytes]
) -> None:
    nested = brackets[0] * depth + b"1" + brackets[1] * depth
    answer = await ask(
        edge.url, post(path, b'{"model": "m", %b"messages": %b}' % (setting, nested))
    )
    assert answer.status == 400
    assert "nested too deeply" in told(answer)
    assert (await ask(edge.url, post(path, BODY))).status == 200


@every_api
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_huge_body_is_refused_while_it_is_sent(
    edge: EdgeServer, path: str, *, chunked: bool
) -> None:
    """The client sends all of it before it reads, and the answer is there."""
    if chunked:
        framing, piece = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    else:
        framing, piece = b"Content-Length: %d" % BIG, PIECE
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + framing + b"\r\n\r\n"
    async with edge.connect() as client:
        await client.send(head)
        for _ in range(BIG // len(PIECE)):
            await client.send(piece)
        answer = await client.answer()
    assert answer.status == 413
    assert "32 MiB" in told(answer)
    assert answer.header(b"connection") == b"close"
    assert edge.buffered == 0


async def test_a_huge_body_for_other_paths_is_refused(edge: EdgeServer) -> None:
    async with edge.connect() as client:
        await client.send(b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BIG)
        for _ in range(40):
            await client.send(PIECE)
        answer = await client.answer()
    assert answer.status == 413
    assert answer.header(b"x-request-id")


async def test_a_body_of_single_bytes_is_held_in_few_pieces(edge: EdgeServer) -> None:
    async with edge.connect() as client:
        await client.send(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n")
        await client.send(b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 50_000)
        await client.send(b"1\r\n{\r\n")
        await until(lambda: edge.buffered == 50_001, "all have come")
        connection = edge.connection
        assert len(connection.cycle.body) < 10
        await client.send(b'd\r\n"model": "m"}\r\n0\r\n\r\n')
        assert (await client.answer()).status == 200


async def test_bodies_of_all_connections_are_bounded_together(leg: ScriptedLeg) -> None:
    limits = Limits(max_buffered_bytes=1000)
    upstream = make_upstream(leg, shape="simulated", models=["m"])
    async with EdgeServer(upstream, limits=limits) as edge:
        async with edge.connect() as first, edge.connect() as second, edge.connect() as third:
            await first.send(post("/v1/messages", bytes(900))[:-1])
            await until(lambda: edge.buffered == 899, "the first has come")
            await second.send(post("/v1/chat/completions", bytes(300)))
            answer = await second.answer()
            assert answer.status == 503
            assert answer.header(b"retry-after") == b"1"
            assert told(answer)
            await third.send(post("/v1/messages", bytes(300)))
            answer = await third.answer()
            assert answer.status == 529
            assert answer.header(b"retry-after") == b"1"
            assert edge.buffered == 899
        await edge.settle()
        assert (await ask(edge.url, post("/v1/messages", BODY))).status == 200


class TestCodings:
    """Compressed bodies: decoded in steps, only to be read."""

    @every_api
    async def test_a_bomb_is_too_large(self, edge: EdgeServer, path: str) -> None:
        bomb = gzip.compress(bytes(64 * 1024 * 1024), 9)
        answer = await ask(edge.url, post(path, bomb, b"Content-Encoding: gzip"))
        assert answer.status == 413
        assert told(answer)

    @every_api
    @pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"zstd"])
    @pytest.mark.parametrize(
        "body",
        [b"garbage", gzip.compress(BODY, mtime=0)[:-9], b"\x1f\x8b"],
        ids=["garbage", "cut", "head"],
    )
    async def test_garbage_is_told(
        self, edge: EdgeServer, path: str, coding: bytes, body: bytes
    ) -> None:
        answer = await ask(edge.url, post(path, body, b"Content-Encoding: " + coding))
        assert answer.status == 400
        assert told(answer)

    @every_api
    @pytest.mark.parametrize("coding", [b"br", b"x", b"gzip, gzip", b"\xff"])
    async def test_an_unknown_coding_is_told_the_known(
        self, edge: EdgeServer, path: str, coding: bytes
    ) -> None:
        answer = await ask(edge.url, post(path, BODY, b"Content-Encoding: " + coding))
        assert answer.status == 400
        assert "gzip, deflate, zstd" in told(answer)

    async def test_a_good_one_passes_as_it_came(self, edge: EdgeServer, leg: ScriptedLeg) -> None:
        body = gzip.compress(BODY, mtime=0)
        answer = await ask(edge.url, post("/v1/messages", body, b"Content-Encoding: gzip"))
        assert answer.status == 200
        assert leg.requests[-1].body == body


@pytest.mark.parametrize(
    "framing",
    [
        b"z\r\n",
        b"-1\r\n",
        b"1\r\nab\r\n",
        b"ffffffffffffffffff\r\n",
        b"1 \n",
        b"\r\n",
        b"0x5\r\nhello\r\n",
    ],
)
@every_api
async def test_bad_chunks_are_refused_in_shape(edge: EdgeServer, path: str, framing: bytes) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with edge.connect() as client:
        answer = await client.ask(head + framing)
    assert answer.status == 400
    assert "not valid HTTP" in told(answer)


async def test_trailers_are_dropped(edge: EdgeServer, leg: ScriptedLeg) -> None:
    """A field behind the body must not become one of the head (RFC 9110 section 6.5.1)."""
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    async with edge.connect() as client:
        answer = await client.ask(head + chunks + b"X-Api-Version: evil\r\nx-a: 1\r\n\r\n")
    assert answer.status == 200
    assert b"x-api-version" not in dict(leg.requests[-1].headers)


@pytest.mark.parametrize("piece", [b"x-a: " + b"v" * 1000 + b"\r\n", b"v" * 1000])
async def test_endless_trailers_are_refused(edge: EdgeServer, piece: bytes) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = await raw(edge.url, head + b"2\r\n{}\r\n0\r\nx-b: ", *[piece] * 1000)
    assert statuses(data) == [431]
    assert json.loads(data.partition(b"\r\n\r\n")[2])["error"]["message"]


async def test_a_client_that_sends_on_after_a_refusal_reads_the_end(edge: EdgeServer) -> None:
    """The answer's end is told although the connection stays open for what is still sent."""
    data = await raw(
        edge.url, b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BIG
    )
    assert statuses(data) == [413]


async def test_large_answers_are_not_read_by_the_limit_of_requests(leg: ScriptedLeg) -> None:
    leg.reactions = [lambda _: ScriptedReply(body=bytes(100_000))]
    async with EdgeServer(make_upstream(leg), limits=Limits(max_body_bytes=100)) as edge:
        answer = await ask(edge.url, post("/v1/chat/completions", BODY))
    assert len(answer.body) == 100_000

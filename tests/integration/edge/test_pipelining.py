"""Several requests on one connection: in order, each answered once, one at a time."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.lean import LeanLeg
from fairlead.testing.upstream import FlakyUpstream, answering
from fairlead.web.protocol import Limits
from integration.edge.server import BODY, EdgeServer, raw, statuses, told
from support.gateway import EVENTS, ScriptedLeg, ScriptedReply, make_upstream
from support.wire import post, until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHAT = "/v1/chat/completions"
HALF = post(CHAT, BODY)[:-1]


def numbered(number: int) -> bytes:
    return post(CHAT, b'{"model": "m", "n": %d}' % number)


class Slow:
    """A leg whose first answer is a stream that the test feeds; the others are whole."""

    def __init__(self) -> None:
        self.stream = ScriptedReply(headers=list(EVENTS))
        self.leg = ScriptedLeg(self.stream, lambda request: ScriptedReply(body=request.body))
        self.upstream = make_upstream(self.leg, shape="simulated", models=["m"])


@pytest.fixture
def slow() -> Slow:
    return Slow()


async def test_a_connection_is_used_a_hundred_times(edge: EdgeServer, leg: ScriptedLeg) -> None:
    async with edge.connect() as client:
        for number in range(100):
            assert (await client.ask(numbered(number))).status == 200
    assert edge.state.total_requests == 100
    assert leg.requests[0].body == b'{"model": "m", "n": 0}'


async def test_answers_come_in_order(slow: Slow) -> None:
    """Of every kind: forwarded, refused at once, and those that ASGI answers."""
    async with EdgeServer(slow.upstream) as edge, edge.connect() as client:
        requests = [numbered(0), HEALTH, numbered(1), post(CHAT, b"{"), HEALTH, numbered(2)]
        await client.send(b"".join(requests))
        slow.stream.feed(b"data: first\n\n")
        assert await client.head() == 200
        assert await client.piece() == b"data: first\n\n"
        assert len(slow.leg.requests) == 1
        slow.stream.end()
        assert await client.piece() == b""
        answers = [await client.answer() for _ in requests[1:]]
    assert [answer.status for answer in answers] == [200, 200, 400, 200, 200]
    assert answers[0].body == answers[3].body == b"/healthz "
    assert answers[1].body == b'{"model": "m", "n": 1}'
    assert answers[4].body == b'{"model": "m", "n": 2}'


async def test_hundreds_that_are_answered_at_once_behind_a_slow_one(slow: Slow) -> None:
    async with EdgeServer(slow.upstream) as edge, edge.connect() as client:
        await client.send(numbered(0) + post(CHAT, b"{") * 250)
        slow.stream.end()
        assert (await client.answer()).status == 200
        assert {(await client.answer()).status for _ in range(250)} == {400}


async def test_more_than_that_end_the_connection(slow: Slow) -> None:
    async with EdgeServer(slow.upstream) as edge, edge.connect() as client:
        await client.send(numbered(0) + post(CHAT, b"{") * 400)
        slow.stream.end()
        assert (await client.answer()).status == 200
        refused = [await client.answer() for _ in range(257)]
        assert {answer.status for answer in refused[:-1]} == {400}
        assert refused[-1].status == 503
        assert "wait on this connection" in told(refused[-1])


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"v" * 600_000, 431),
        (b"POST /v1/messages HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"POST /v1/messages HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        (b"POST /api/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_a_refusal_waits_for_the_answer_before_it(
    slow: Slow, rest: bytes, status: int
) -> None:
    """It would land in the middle of a stream."""
    async with EdgeServer(slow.upstream) as edge, edge.connect() as client:
        await client.send(numbered(0) + rest)
        slow.stream.feed(b"data: first\n\n")
        await client.head()
        assert await client.piece() == b"data: first\n\n"
        slow.stream.feed(b"data: second\n\n")
        assert await client.piece() == b"data: second\n\n"
        slow.stream.end()
        assert await client.piece() == b""
        refused = await client.answer()
        assert refused.status == status
        assert refused.header(b"x-request-id")


async def test_the_request_to_go_on_waits_for_the_answer_before_it(slow: Slow) -> None:
    async with EdgeServer(slow.upstream) as edge, edge.connect() as client:
        head = post(CHAT, BODY, b"Expect: 100-continue").removesuffix(BODY)
        await client.send(numbered(0) + head)
        slow.stream.feed(b"data: first\n\n")
        await client.head()
        assert await client.piece() == b"data: first\n\n"
        slow.stream.end()
        assert await client.piece() == b""
        assert await client.head(bodiless=True) == 100
        assert (await client.ask(BODY)).body == BODY


async def test_a_slow_request_does_not_cut_the_answer_before_it(slow: Slow) -> None:
    limits = Limits(header_timeout=0.02, body_timeout=0.02)
    async with EdgeServer(slow.upstream, limits=limits) as edge, edge.connect() as client:
        await client.send(numbered(0) + HALF)
        await asyncio.sleep(0.1)
        slow.stream.feed(b"data: first\n\n")
        await client.head()
        assert await client.piece() == b"data: first\n\n"
        slow.stream.end()
        assert await client.piece() == b""
        assert (await client.answer()).status == 408


@pytest.mark.parametrize("behind", [numbered(1), HEALTH, HALF, b"garbage\r\n\r\n"])
async def test_a_client_that_leaves_is_noticed(slow: Slow, behind: bytes) -> None:
    async with EdgeServer(slow.upstream) as edge:
        async with edge.connect() as client:
            await client.send(numbered(0) + behind)
            slow.stream.feed(b"data: first\n\n")
            await client.head()
        await edge.settle()
    assert slow.stream.closed
    assert len(slow.leg.requests) == 1


async def test_nothing_behind_the_last_request_is_begun(edge: EdgeServer, leg: ScriptedLeg) -> None:
    last = post(CHAT, b"{", b"Connection: close")
    assert statuses(await raw(edge.url, last + numbered(1) + HEALTH)) == [400]
    assert leg.requests == []


async def test_answers_that_nobody_reads_are_not_piled_up() -> None:
    """Hits are answered at once; 300 of them would be 18 MB in the connection's buffer."""
    size = 60_000
    body = b'{"object": "chat.completion", "usage": {}, "text": "%b"}' % (b"v" * size)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    async with FlakyUpstream(answering(head % len(body) + body)) as source:
        leg = LeanLeg(LegOptions(name="up", base_url=source.url))
        async with EdgeServer(make_upstream(leg, models=["m"])) as edge:  # type: ignore[arg-type]
            request = post(CHAT, b'{"model": "m", "temperature": 0}')
            async with edge.connect() as client:
                await client.ask(request)
                connection = edge.connection
                await client.send(request * 200)
                await until(lambda: len(connection.pipeline) > 0, "requests wait")
                assert connection.transport.get_write_buffer_size() < 8 * size
                for _ in range(200):
                    assert dict((await client.answer()).headers)[b"cache-status"].endswith(b"hit")
            assert len(source.requests) == 1

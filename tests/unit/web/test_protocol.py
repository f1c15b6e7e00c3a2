"""Whatever bytes come, in whatever pieces: nothing is raised, nothing is left, nothing differs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from fairlead.web.protocol import Limits
from integration.edge.server import EdgeServer
from support.gateway import ScriptedLeg, ScriptedReply, make_upstream, turns

LIMITS = Limits(max_body_bytes=2000, max_buffered_bytes=3000, max_header_bytes=1000)
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
WORDS = [
    b"POST /v1/chat/completions HTTP/1.1\r\n",
    b"GET /v1/models/m HTTP/1.0\r\n",
    b"GET /healthz HTTP/1.1\r\n",
    b"POST /v1/messages",
    b" HTTP/1.1",
    b"CONNECT a:1",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Host: x\r\n",
    b"Content-Length: 66\r\n",
    b"Content-Length: 5000\r\n",
    b"Content-Length: %d\r\n" % 10**30,
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: close\r\n",
    b"x-a: " + b"v" * 900,
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"42\r\n",
    b"\x00",
    b"\xff",
    b"v" * 900,
    BODY,
]
INPUT = st.lists(st.sampled_from(WORDS) | st.binary(max_size=20), max_size=14)
WHOLE = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY
CHUNKED = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n20\r\n%b\r\n%x;ext=1\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n"
) % (BODY[:32], len(BODY) - 32, BODY[32:])


class Wire(asyncio.Transport):
    """A transport that keeps what is written and ends as a socket does."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Everything is taken at once."""
        self.sent += bytes(data)

    def get_write_buffer_size(self) -> int:
        """Nothing is ever left."""
        return 0

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called."""
        return self.closing

    def close(self) -> None:
        """Note it; the connection is lost when the test says so."""
        self.closing = True

    abort = close

    def can_write_eof(self) -> bool:
        """As a socket."""
        return True

    def write_eof(self) -> None:
        """Nothing to do."""

    def pause_reading(self) -> None:
        """The test sends all the same: a read may be under way."""

    def resume_reading(self) -> None:
        """See above."""


def served(test: Callable[[EdgeServer, ScriptedLeg], Awaitable[None]]) -> None:
    """Run `test` with an edge that must be clean when it ends."""

    async def run() -> None:
        leg = ScriptedLeg(lambda _: ScriptedReply(body=b"{}"))
        upstream = make_upstream(leg, shape="simulated", models=["m"], base_path="")
        async with EdgeServer(upstream, limits=LIMITS) as edge:
            await test(edge, leg)

    asyncio.run(run())


async def talk(edge: EdgeServer, pieces: Sequence[bytes]) -> Wire:
    """One connection that sends `pieces` and is lost a little later."""
    wire = Wire()
    connection = edge.make_protocol()
    connection.connection_made(wire)
    for piece in pieces:
        if wire.closing:
            break
        connection.data_received(piece)
        await asyncio.sleep(0)
    await turns(30)
    connection.connection_lost(None)
    await edge.settle()
    return wire


@given(INPUT)
def test_any_bytes(pieces: list[bytes]) -> None:
    async def test(edge: EdgeServer, _leg: ScriptedLeg) -> None:
        await talk(edge, pieces)
        await talk(edge, [b"".join(pieces)])

    served(test)


@given(st.sampled_from([WHOLE, CHUNKED]), st.lists(st.integers(1, len(CHUNKED)), max_size=12))
def test_any_split_is_the_same_request(request: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(request), *(cut for cut in cuts if cut < len(request))})
    pieces = [request[a:b] for a, b in itertools.pairwise(places)]

    async def test(edge: EdgeServer, leg: ScriptedLeg) -> None:
        wire = await talk(edge, pieces)
        assert wire.sent.startswith(b"HTTP/1.1 200 OK\r\n")
        assert wire.sent.count(b"HTTP/1.1 ") == 1
        (sent,) = leg.requests
        assert (sent.method, sent.target) == (b"POST", b"/v1/chat/completions?a=b")
        assert sent.body == BODY
        assert [value for name, value in sent.headers if name == b"x-a"] == [b"1", b"2"]
        assert b"x-trailer" not in dict(sent.headers)

    served(test)

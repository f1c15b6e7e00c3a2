"""Faults of our own and of upstreams, all the way to the client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from fairlead.errors import FairleadError
from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.lean import LeanLeg
from fairlead.testing.upstream import Caller, FlakyUpstream, answering
from integration.edge.server import BODY, PATHS, EdgeServer, raw, statuses, told
from support.gateway import EVENTS, ScriptedLeg, ScriptedReply, make_upstream
from support.wire import ask, post

every_api = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def fail(*_: object) -> ScriptedReply:
    raise ZeroDivisionError("a bug")


@every_api
class TestOurs:
    """An exception nobody expected: 500 in the API's shape, told in the log with its traceback."""

    async def test_while_forwarding(
        self, edge: EdgeServer, leg: ScriptedLeg, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        leg.reactions = [fail, lambda _: ScriptedReply(body=b"{}")]
        async with edge.connect() as client:
            answer = await client.ask(post(path, BODY))
            assert answer.status == 500
            assert "internal error" in told(answer)
            assert "a bug" not in told(answer)
            assert (await client.ask(post(path, BODY))).status == 200
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.exc_info
        assert record.exc_info[0] is ZeroDivisionError

    @pytest.mark.parametrize("place", ["handle", "_prepare"])
    async def test_before_anything_waits(
        self,
        edge: EdgeServer,
        path: str,
        place: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with edge.connect() as client:
            with monkeypatch.context() as patched:
                patched.setattr(edge.gateway, place, fail)
                assert (await client.ask(post(path, BODY))).status == 500
            assert (await client.ask(post(path, BODY))).status == 200
        assert "ZeroDivisionError" in caplog.text

    async def test_in_the_middle_of_an_answer(
        self,
        edge: EdgeServer,
        leg: ScriptedLeg,
        path: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        reply = ScriptedReply(headers=list(EVENTS))
        leg.reactions = [reply]
        async with edge.connect() as client:
            await client.send(post(path, BODY))
            reply.feed(b"data: 1\n\n")
            await client.head()
            await client.piece()
            monkeypatch.setattr(reply, "read_nowait", fail)
            reply.feed(b"data: 2\n\n")
            await client.until_broken()
        assert "ZeroDivisionError" in caplog.text

    async def test_of_the_refusal_itself(
        self,
        edge: EdgeServer,
        path: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(edge.gateway, "handle", fail)
        monkeypatch.setattr(edge.gateway, "refuse", fail)
        assert await raw(edge.url, post(path, BODY)) == b""
        assert "a refusal could not be sent" in caplog.text

    async def test_in_a_callback_of_the_parser(
        self,
        edge: EdgeServer,
        path: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It must not pass for a fault of the client."""
        monkeypatch.setattr("fairlead.web.protocol.httptools.parse_url", fail)
        assert statuses(await raw(edge.url, post(path, BODY))) == [500]
        assert "ZeroDivisionError" in caplog.text


OK = b"HTTP/1.1 200 OK\r\n"
GARBAGE: dict[str, bytes] = {
    "no HTTP": b"garbage\r\n\r\n",
    "nothing": b"",
    "endless head": OK + b"x-a: " + b"v" * 200_000,
    "bad status": b"HTTP/1.1 999999 OK\r\n\r\n",
    "negative length": OK + b"content-length: -1\r\n\r\n",
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunks": OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL in a field": OK + b"x-a: \x00\r\ncontent-length: 0\r\n\r\n",
}


def saying(data: bytes) -> Callable[[Caller], Awaitable[None]]:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(data)

    return script


class TestUpstreams:
    """What upstreams send: an error in shape, or the shape's own end of a broken stream."""

    @staticmethod
    async def _ask(path: str, script: Callable[[Caller], Awaitable[None]]) -> bytes:
        async with FlakyUpstream(script) as source:
            leg = LeanLeg(LegOptions(name="up", base_url=source.url))
            upstream = make_upstream(leg, shape="simulated")  # type: ignore[arg-type]  # any leg will do
            async with EdgeServer(upstream) as edge:
                return await raw(edge.url, post(path, BODY, b"Connection: close"))

    @every_api
    @pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
    async def test_garbage_instead_of_a_head(self, path: str, data: bytes) -> None:
        answer = await self._ask(path, saying(data))
        assert statuses(answer) == [502]
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert "up" in error["message"]
        assert error["type"]

    @every_api
    @pytest.mark.parametrize(
        "rest",
        [b"5\r\ndata:", b"z\r\n", b"9\r\ndata: 1\n\n\r\n-1\r\n", b"ffffffffffffffffffff\r\n"],
    )
    async def test_a_broken_stream(self, path: str, rest: bytes) -> None:
        head = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        answer = await self._ask(path, saying(head + rest))
        assert statuses(answer) == [200]
        assert b"error" in answer.partition(b"\r\n\r\n")[2]
        assert answer.endswith(b"0\r\n\r\n")

    @every_api
    async def test_a_plain_answer_that_is_cut_short(self, path: str) -> None:
        head = OK + b"content-type: application/json\r\ncontent-length: 100\r\n\r\n"
        answer = await self._ask(path, saying(head + b"{"))
        assert b"content-length: 100" in answer
        assert answer.endswith(b"\r\n\r\n{")

    @every_api
    async def test_more_than_was_declared_is_not_passed_on(self, path: str) -> None:
        head = OK + b"content-type: application/json\r\ncontent-length: 2\r\n\r\n"
        answer = await self._ask(path, answering(head + b"{}" + OK + b"evil: 1\r\n\r\n"))
        assert statuses(answer) == [200]
        assert answer.endswith(b"\r\n\r\n{}")


async def test_an_identity_that_fails_is_answered(
    edge: EdgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identify(_headers: object) -> None:
        raise FairleadError("the keys are away")

    monkeypatch.setattr(edge.identity, "identify", identify)
    answer = await ask(edge.url, post("/v1/messages", BODY))
    assert answer.status >= 500
    assert told(answer)

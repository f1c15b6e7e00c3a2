"""What the gateway hands to the capture: every end that an exchange can have, in each API."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import brotli
import msgspec
import pytest
import zstandard

from fairlead.core.identity import Principal
from fairlead.errors import UpstreamBrokenError, UpstreamUnreachableError
from fairlead.gateway.base import ModelRequest
from fairlead.gateway.legs.base import Headers
from support.captures import (
    CHAT,
    MESSAGES,
    RESPONSES,
    CapturingNode,
    body_of,
    cuts,
    digests,
    plain,
    shown,
    speaking,
    stream,
)
from support.gateway import EVENTS, JSON, ScriptedReply, make_request, turns
from support.recordings import CHAT_EVENTS, MESSAGES_EVENTS, RESPONSES_EVENTS

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(10)

Body = dict[str, Any]


class Api(msgspec.Struct, frozen=True):
    """One API: where it is asked, and what it answers."""

    path: bytes
    asks: Callable[..., Body]
    answer: Body
    events: tuple[bytes, ...]
    whole: int = 1
    """Messages of the streamed answer."""

    def request(self, headers: Headers | None = None, **fields: Any) -> ModelRequest:
        return make_request(
            body_of(**self.asks("hello", **fields)), path=self.path, headers=headers
        )


def _messages(text: str, **fields: Any) -> Body:
    return {"messages": [{"role": "user", "content": text}], **fields}


APIS = {
    "chat": Api(
        CHAT,
        _messages,
        {
            "model": "m-1",
            "choices": [{"message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 3},
        },
        tuple(CHAT_EVENTS),
    ),
    "responses": Api(
        RESPONSES,
        lambda text, **fields: {"input": text, **fields},
        {
            "model": "m-1",
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "yes"}],
                }
            ],
            "usage": {"input_tokens": 3},
        },
        tuple(RESPONSES_EVENTS),
    ),
    "messages": Api(
        MESSAGES,
        _messages,
        {
            "model": "m-1",
            "content": [{"type": "text", "text": "yes"}],
            "usage": {"input_tokens": 3},
        },
        tuple(MESSAGES_EVENTS),
    ),
}


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    return APIS[request.param]


async def test_a_plain_answer(api: Api) -> None:
    async with CapturingNode(speaking(plain(api.answer))) as node:
        _, turn = await node.tell(api.request([(b"x-session-id", b"s-1")]))

    assert shown(turn.messages) == [("user", "hello")]
    assert len(turn.answer) == 1
    assert (turn.session, turn.request_id, turn.upstream) == ("5:local/s-1", "request-1", "up-1")
    assert (turn.model, turn.status, turn.outcome, turn.cache) == ("m-1", 200, "ok", "bypass")
    assert (turn.partial, turn.truncated, turn.stream) == (False, False, False)
    assert turn.usage == api.answer["usage"]
    assert turn.path == api.path.decode()


async def test_a_stream(api: Api) -> None:
    async with CapturingNode(speaking(stream(api.events))) as node:
        answer, turn = await node.tell(api.request(stream=True))

    assert answer.body == b"".join(api.events)
    assert len(turn.answer) == api.whole
    assert (turn.partial, turn.stream) == (False, True)
    assert turn.usage


async def test_times(api: Api) -> None:
    reply = ScriptedReply(200, EVENTS)
    async with CapturingNode(speaking(reply)) as node:
        _, task = node.start(api.request())
        await turns()
        await node.clock.advance(2.5)
        reply.feed(*api.events)
        reply.end()
        await task
        turn = await node.turn()

    assert (turn.time, turn.seconds) == (1_700_000_000_000, 2.5)


async def test_a_client_that_leaves_keeps_what_it_got(api: Api) -> None:
    reply = ScriptedReply(200, EVENTS)
    async with CapturingNode(speaking(reply)) as node:
        sink, task = node.start(api.request(stream=True))
        reply.feed(*api.events[:-3])
        await turns()
        sink.gone = True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        turn = await node.turn()

    assert shown(turn.messages) == [("user", "hello")]
    assert len(turn.answer) == 1
    assert (turn.partial, turn.outcome) == (True, "client_closed")


async def test_a_client_that_leaves_before_the_answer_has_asked(api: Api) -> None:
    async with CapturingNode(speaking(ScriptedReply(200, EVENTS))) as node:
        sink, task = node.start(api.request(stream=True))
        await turns()
        sink.gone = True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        turn = await node.turn()

    assert shown(turn.messages) == [("user", "hello")]
    assert (list(turn.answer), turn.partial, turn.status) == ([], True, 200)


async def test_a_stream_that_breaks_keeps_what_has_come(api: Api) -> None:
    reply = ScriptedReply(200, EVENTS)
    reply.feed(*api.events[:-3])
    reply.fail(UpstreamBrokenError("up-1"))
    async with CapturingNode(speaking(reply)) as node:
        _, turn = await node.tell(api.request(stream=True))

    assert len(turn.answer) == 1
    assert (turn.partial, turn.outcome) == (True, "upstream_broken")


async def test_a_plain_answer_that_breaks_has_no_text(api: Api) -> None:
    reply = ScriptedReply()
    reply.feed(json.dumps(api.answer).encode()[:-9])
    reply.fail(UpstreamBrokenError("up-1"))
    async with CapturingNode(speaking(reply)) as node:
        _, turn = await node.tell(api.request())

    assert (list(turn.answer), turn.partial) == ([], True)
    assert "read" in turn.error


async def test_a_hit_is_captured_again(api: Api) -> None:
    async with CapturingNode(speaking(stream(api.events))) as node:
        _, first = await node.tell(api.request(temperature=0))
        _, second = await node.tell(api.request(temperature=0))

    assert (first.cache, second.cache) == ("miss", "hit")
    assert digests(first.answer) == digests(second.answer)
    assert second.upstream == ""


async def test_a_large_hit_is_captured_again() -> None:
    answer = {"choices": [{"message": {"content": "x" * 200_000}}]}
    async with CapturingNode(speaking(plain(answer))) as node:
        _, first = await node.tell(APIS["chat"].request(temperature=0))
        _, second = await node.tell(APIS["chat"].request(temperature=0))

    assert second.cache == "hit"
    assert first.answer == second.answer


async def test_those_who_share_a_call_are_captured_each(api: Api) -> None:
    reply = ScriptedReply(200, EVENTS)
    ann, bob = (Principal("acme", name) for name in ("ann", "bob"))
    async with CapturingNode(speaking(reply)) as node:
        asked = [
            make_request(
                body_of(**api.asks("hello", temperature=0)), path=api.path, principal=principal
            )
            for principal in (ann, bob)
        ]
        tasks = [node.start(request)[1] for request in asked]
        await turns()
        reply.feed(*api.events)
        reply.end()
        await asyncio.gather(*tasks)
        await node.capture.flush()
        both = node.sink.turns

    assert {turn.principal for turn in both} == {ann, bob}
    assert {turn.cache for turn in both} == {"miss", "collapsed"}
    assert digests(both[0].answer) == digests(both[1].answer)
    assert not any(turn.partial for turn in both)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [(b"gzip", gzip.compress), (b"zstd", zstandard.compress), (b"br", brotli.compress)],
)
async def test_coded_answers_are_read(
    api: Api, coding: bytes, encode: Callable[[bytes], bytes]
) -> None:
    headers = [*EVENTS, (b"content-encoding", coding)]
    whole = encode(b"".join(api.events))
    async with CapturingNode(speaking(ScriptedReply(200, headers, whole))) as node:
        _, turn = await node.tell(api.request(stream=True))
    async with CapturingNode(speaking(stream(api.events))) as node:
        _, same = await node.tell(api.request(stream=True))

    assert turn.answer == same.answer
    assert not turn.partial


async def test_a_coded_stream_that_breaks_keeps_what_has_come() -> None:
    coder = zstandard.ZstdCompressor().compressobj()
    coded = coder.compress(b"".join(CHAT_EVENTS[:2])) + coder.flush(
        zstandard.COMPRESSOBJ_FLUSH_BLOCK
    )
    reply = ScriptedReply(200, [*EVENTS, (b"content-encoding", b"zstd")])
    reply.feed(*cuts(coded, 10))
    reply.fail(UpstreamBrokenError("up-1"))
    async with CapturingNode(speaking(reply)) as node:
        _, turn = await node.tell(APIS["chat"].request(stream=True))

    assert shown(turn.answer) == [("assistant", "Grüße \U0001f44b")]
    assert turn.partial


async def test_what_codings_the_client_asks_for_is_not_touched() -> None:
    accept = [(b"accept-encoding", b"br, gzip;q=0.5, zstd")]
    upstream = speaking(plain(APIS["chat"].answer))
    async with CapturingNode(upstream) as node:
        await node.ask(APIS["chat"].request(accept))

    headers = dict(upstream.leg.requests[0].headers)  # type: ignore[attr-defined]  # a ScriptedLeg
    assert headers[b"accept-encoding"] == b"br, gzip;q=0.5, zstd"


async def test_a_coding_that_cannot_be_read_leaves_the_question() -> None:
    reply = ScriptedReply(200, [*JSON, (b"content-encoding", b"br")], b"\x00" * 99)
    async with CapturingNode(speaking(reply)) as node:
        _, turn = await node.tell(APIS["chat"].request())

    assert shown(turn.messages) == [("user", "hello")]
    assert (list(turn.answer), turn.partial) == ([], True)


async def test_a_coded_request_is_read() -> None:
    body = gzip.compress(body_of(**_messages("hello")))
    async with CapturingNode(speaking(plain(APIS["chat"].answer))) as node:
        _, turn = await node.tell(make_request(body, headers=[(b"content-encoding", b"gzip")]))

    assert shown(turn.messages) == [("user", "hello")]


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_an_error_of_the_upstream_leaves_the_question(api: Api, status: int) -> None:
    reply = plain({**api.answer, "error": {"message": "no"}}, status=status)
    async with CapturingNode(speaking(reply)) as node:
        _, turn = await node.tell(api.request())

    assert shown(turn.messages) == [("user", "hello")]
    assert (list(turn.answer), turn.status) == ([], status)


async def test_an_upstream_that_is_away_leaves_the_question() -> None:
    upstream = speaking()
    upstream.leg.reactions = [UpstreamUnreachableError("up-1")]  # type: ignore[attr-defined]  # a ScriptedLeg
    async with CapturingNode(upstream) as node:
        _, task = node.start(APIS["chat"].request())
        for _ in range(9):
            await node.clock.advance(5)
        await task
        turn = await node.turn()

    assert shown(turn.messages) == [("user", "hello")]
    assert turn.outcome == "upstream_error"


@pytest.mark.parametrize(
    "request_",
    [
        make_request(b"{"),
        make_request(b'{"messages": []}'),
        make_request(body_of(**_messages("hello")), headers=[(b"x-fairlead-priority", b"odd")]),
        make_request(
            body_of(**_messages("hello")), headers=[(b"cache-control", b"only-if-cached")]
        ),
        make_request(
            body_of(**_messages("hello", temperature=0)),
            headers=[(b"cache-control", b"only-if-cached")],
        ),
    ],
)
async def test_what_the_node_refuses_was_not_said(request_: ModelRequest) -> None:
    async with CapturingNode(speaking(plain({}))) as node:
        await node.ask(request_)
        assert await node.dropped() == {}
        assert node.sink.turns == []


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (b"/v1/embeddings", b"POST"),
        (b"/v1/messages/count_tokens", b"POST"),
        (b"/v1/models", b"GET"),
        (b"/v1/files", b"POST"),
        (b"/v1/responses", b"GET"),
    ],
)
async def test_what_is_no_conversation_is_not_captured(path: bytes, method: bytes) -> None:
    body = body_of(**_messages("hello"))
    async with CapturingNode(speaking(plain({"data": []}))) as node:
        await node.ask(make_request(body, path=path, method=method))
        assert await node.dropped() == {}
        assert node.sink.turns == []

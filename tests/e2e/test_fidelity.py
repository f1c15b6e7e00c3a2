"""Bytes and headers through the node against the same ones directly."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from fairlead.testing.upstream import Caller, RawRequest
from support.nodeprocess import NodeProcess
from support.recordings import (
    CHAT_BODY,
    CHAT_EVENTS,
    MESSAGES_BODY,
    MESSAGES_EVENTS,
    RECORDINGS,
    RESPONSES_BODY,
    RESPONSES_EVENTS,
    Recording,
)
from support.scripted import GatedStream, ScriptedUpstream, replying, whole
from support.wire import Answer, Fields, ask, client, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
[server]
shutdown_timeout = 2

[[upstreams]]
name = "chat"
shape = "openai"
base_url = "{url}/v1"
key_env = "CHAT_KEY"

[[upstreams]]
name = "messages"
shape = "anthropic"
base_url = "{url}"
models = ["claude-*"]
key_env = "MESSAGES_KEY"
"""
CACHE_ON = b"x-fairlead-cache: on"
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding"}
ADDED = {b"date", b"x-request-id", b"cache-status", b"x-fairlead-cache-key"}
"""Fields of the node's own, where the upstream has not set them."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as opened:
        yield opened
    assert opened.failures == []


@pytest.fixture(scope="module")
def node(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    keys = {"CHAT_KEY": "sk-of-the-node", "MESSAGES_KEY": "sk-ant-of-the-node"}
    with NodeProcess(folder, CONFIG.format(url=upstream.url), **keys) as started:
        yield started


def passed_on(headers: Fields) -> Fields:
    """What of an upstream's header fields must come out of the node, in this order."""
    return [field for field in headers if field[0] not in HOP_BY_HOP]


def check_headers(direct: Answer, through: Answer) -> None:
    """Only what the specification allows differs."""
    expected = passed_on(direct.headers)
    known = {name for name, _ in expected}
    own = ADDED - known | HOP_BY_HOP
    assert [field for field in through.headers if field[0] not in own] == expected
    assert through.header(b"x-request-id")
    assert through.header(b"cache-status")


def asking(recording: Recording, *fields: bytes) -> bytes:
    version = (b"anthropic-version: 2023-06-01",) if "messages" in recording.path else ()
    return post(recording.path, recording.body, *version, *fields, method=recording.method)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
async def test_answers_are_the_same(
    upstream: ScriptedUpstream, node: NodeProcess, recording: Recording
) -> None:
    upstream.play(replying(*recording.packets()))
    direct = await ask(upstream.url, asking(recording))
    through = await ask(node.url, asking(recording))
    assert (through.status, through.body) == (direct.status, direct.body)
    assert direct.body == recording.answer
    check_headers(direct, through)


KEPT = {
    "chat-byte-by-byte",
    "chat-crlf-and-comments",
    "chat-json-gzip",
    "chat-until-close",
    "embeddings-2-mb",
    "messages-json",
    "messages-odd-pieces",
    "messages-one-piece",
    "repeated-and-odd-fields",
    "responses-typed-events",
    "stream-gzip",
}
"""The whole and successful answers among the recordings: those that a cache may keep."""


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
async def test_answers_are_the_same_by_way_of_the_cache(
    upstream: ScriptedUpstream, node: NodeProcess, recording: Recording
) -> None:
    upstream.play(replying(*recording.packets()))
    direct = await ask(upstream.url, asking(recording))
    # Several recordings answer one and the same request.
    assert (await ask(node.url, post("/api/cache?all=true", b"", method="DELETE"))).status == 200
    first, second = [await ask(node.url, asking(recording, CACHE_ON)) for _ in range(2)]
    check_headers(direct, first)
    assert (first.status, first.body) == (direct.status, direct.body)
    assert (second.status, second.body) == (direct.status, direct.body)
    hit = second.header(b"cache-status") == b"fairlead; hit"
    assert hit == (recording.name in KEPT)
    # An overloaded server is asked twice more before its answer passes.
    tries = 3 if recording.name == "messages-529" else 1
    assert len(upstream.requests) == (2 if hit else 1 + 2 * tries)
    if hit:
        assert second.header(b"set-cookie") is None
        assert second.header(b"content-type") == direct.header(b"content-type")
        assert second.header(b"content-encoding") == direct.header(b"content-encoding")


ODD_BODY = (
    b' {"model":"gpt-4o" ,\r\n\t"stream": false, "messages": [ ], "model": "gpt-4o",'
    b' "unknown": {"n": 1.10e1, "big": 123456789012345678901234567890},'
    b' "escaped": "\\u00e9\xc3\xa9\\/"} \n'
)
BODIES = {
    "odd-json": (ODD_BODY, b"content-type: application/json"),
    "large": (b'{"model": "gpt-4o", "messages": ["%s"]}' % (b"x" * 2_000_000), b"a: b"),
    "gzip": (gzip.compress(CHAT_BODY, mtime=0), b"content-encoding: gzip"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("cache", [b"x-fairlead-cache: on", b"x-fairlead-cache: off"])
async def test_a_request_body_arrives_as_it_was_sent(
    upstream: ScriptedUpstream, node: NodeProcess, name: str, cache: bytes
) -> None:
    body, field = BODIES[name]
    upstream.play(replying(whole(b"{}")))
    # The query keeps the requests of different tests apart in the cache.
    path = f"/v1/chat/completions?test={name}"
    assert (await ask(node.url, post(path, body, field, cache))).status == 200
    (request,) = upstream.requests
    assert request.body == body
    assert request.line == f"POST {path} HTTP/1.1".encode()
    assert request.header(b"content-length") == b"%d" % len(body)


async def test_a_chunked_request_body_arrives(
    upstream: ScriptedUpstream, node: NodeProcess
) -> None:
    upstream.play(replying(whole(b"{}")))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    head += b"transfer-encoding: chunked\r\n\r\n"
    pieces = [CHAT_BODY[:5], CHAT_BODY[5:], b""]
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    assert (await ask(node.url, head + chunks)).status == 200
    (request,) = upstream.requests
    assert request.body == CHAT_BODY
    assert request.header(b"transfer-encoding") is None


ASKED = (
    b"User-Agent: claude-cli/2.0",
    b"Authorization: Bearer of-the-caller",
    b"X-API-Key: of-the-caller",
    b"Cookie: session=of-the-caller",
    b"anthropic-version: 2023-06-01",
    b"anthropic-beta: interleaved-thinking-2025-05-14",
    b"anthropic-beta: context-1m-2025-08-07",
    b"Accept: application/json",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"X-Stainless-Retry-Count: 0",
    b"X-Unknown-Field: caf\xe9",
    b"Connection: keep-alive, X-Hop",
    b"X-Hop: for this connection only",
    b"TE: trailers",
    b"Proxy-Authorization: Basic of-the-caller",
    b"x-fairlead-cache: off",
)
PASSED = [
    (b"user-agent", b"claude-cli/2.0"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"interleaved-thinking-2025-05-14"),
    (b"anthropic-beta", b"context-1m-2025-08-07"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"x-stainless-retry-count", b"0"),
    (b"x-unknown-field", b"caf\xe9"),
]


@pytest.mark.parametrize(
    ("path", "body", "credential"),
    [
        ("/v1/messages?beta=true&x=%2F", MESSAGES_BODY, (b"x-api-key", b"sk-ant-of-the-node")),
        ("/v1/messages/batches/x?after=1", b"", (b"x-api-key", b"sk-ant-of-the-node")),
        ("/v1/chat/completions", CHAT_BODY, (b"authorization", b"Bearer sk-of-the-node")),
        ("/v1/responses?", RESPONSES_BODY, (b"authorization", b"Bearer sk-of-the-node")),
    ],
)
async def test_request_headers(
    upstream: ScriptedUpstream,
    node: NodeProcess,
    path: str,
    body: bytes,
    credential: tuple[bytes, bytes],
) -> None:
    upstream.play(replying(whole(b"{}")))
    assert (await ask(node.url, post(path, body, *ASKED))).status == 200
    (request,) = upstream.requests
    assert request.line == f"POST {path.rstrip('?')} HTTP/1.1".encode()
    sent = [(name.lower(), value) for name, value in request.headers]
    framing = {b"host", b"content-length", b"connection"}
    assert [field for field in sent if field[0] not in framing] == [*PASSED, credential]
    assert [value for name, value in sent if name == b"host"] == [upstream.url[7:].encode()]
    assert b"of-the-caller" not in repr(request).encode()


STREAMS = [
    ("/v1/chat/completions", CHAT_BODY, CHAT_EVENTS),
    ("/v1/responses", RESPONSES_BODY, RESPONSES_EVENTS),
    ("/v1/messages", MESSAGES_BODY, MESSAGES_EVENTS),
]


@pytest.mark.parametrize("cache", [b"x-fairlead-cache: on", b"x-fairlead-cache: off"])
@pytest.mark.parametrize(("path", "body", "events"), STREAMS, ids=["chat", "responses", "messages"])
async def test_each_event_comes_before_the_next_is_sent(
    upstream: ScriptedUpstream,
    node: NodeProcess,
    path: str,
    body: bytes,
    events: list[bytes],
    cache: bytes,
) -> None:
    stream = GatedStream(events)
    upstream.play(stream)
    async with client(node.url) as caller:
        await caller.send(post(f"{path}?one-by-one", body, cache))
        async with asyncio.timeout(10):
            await stream.started.acquire()
        stream.let()
        assert await caller.head() == 200
        for event in events:
            stream.let()
            assert await caller.take(len(event)) == event
        stream.let()
        assert await caller.body() == b""


async def test_half_an_event_is_not_waited_for(
    upstream: ScriptedUpstream, node: NodeProcess
) -> None:
    halves = [MESSAGES_EVENTS[0][:20], MESSAGES_EVENTS[0][20:]]
    stream = GatedStream(halves)
    upstream.play(stream)
    async with client(node.url) as caller:
        await caller.send(post("/v1/messages", MESSAGES_BODY))
        stream.let()
        await caller.head()
        for half in halves:
            stream.let()
            assert await caller.take(len(half)) == half
        stream.let()
        assert await caller.body() == b""


async def test_head_has_no_body(upstream: ScriptedUpstream, node: NodeProcess) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 42\r\n\r\n"
    upstream.play(replying(head))
    async with client(node.url) as caller:
        for _ in range(2):
            await caller.send(post("/v1/files/1", b"", method="HEAD"))
            assert await caller.head(bodiless=True) == 200
            assert dict(caller.headers)[b"content-length"] == b"42"


async def test_pipelined_requests_are_answered_in_order(
    upstream: ScriptedUpstream, node: NodeProcess
) -> None:
    async def echo(caller: Caller, request: RawRequest) -> None:
        await caller.send(whole(request.body))

    upstream.play(echo)
    bodies = [b'{"model": "gpt-4o", "n": %d}' % number for number in range(5)]
    async with client(node.url) as caller:
        await caller.send(b"".join(post("/v1/chat/completions", body) for body in bodies))
        assert [(await caller.answer()).body for _ in bodies] == bodies


async def test_a_plain_answer_that_breaks_is_not_taken_for_whole(
    upstream: ScriptedUpstream, node: NodeProcess
) -> None:
    async def half(caller: Caller, _request: RawRequest) -> None:
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        caller.reset()

    upstream.play(half)
    for cache in (b"x-fairlead-cache: on", b"x-fairlead-cache: off"):
        async with client(node.url) as caller:
            await caller.send(post("/v1/chat/completions?half", CHAT_BODY, cache))
            assert await caller.head() == 200
            assert await caller.until_broken() == b"{"

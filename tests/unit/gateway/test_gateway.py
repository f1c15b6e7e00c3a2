"""The gateway passes requests and answers as they are."""

from __future__ import annotations

import gzip
import json

import pytest
import zstandard

from fairlead.gateway.base import ModelRequest
from fairlead.gateway.legs.base import Headers
from support.gateway import (
    JSON,
    ScriptedLeg,
    ScriptedReply,
    make_request,
    make_upstream,
)
from support.node import Node

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

CHAT = b"/v1/chat/completions"
RESPONSES = b"/v1/responses"
MESSAGES = b"/v1/messages"
BODY = b'{"model": "m",  "unknown": [1, 1.0, "\\u00e9"]}'
ANSWER = b'{ "choices":[], "usage":{"prompt_tokens":3,"completion_tokens":2} }'
EVERY_SHAPE = pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])


def ok(headers: Headers | None = None, body: bytes = ANSWER, status: int = 200) -> ScriptedReply:
    return ScriptedReply(status, headers, body)


def both(leg: ScriptedLeg, **fields: object) -> Node:
    """A node whose one upstream speaks both APIs."""
    return Node(make_upstream(leg, shape="simulated", base_path="", **fields))  # type: ignore[arg-type]  # passed on


# ---- what passes


async def test_the_request_passes_byte_for_byte() -> None:
    leg = ScriptedLeg(ok())
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"x-unknown", b"1"),
        (b"x-unknown", b"2"),
        (b"authorization", b"Bearer the-callers"),
        (b"x-fairlead-cache", b"off"),
        (b"connection", b"keep-alive, x-hop"),
        (b"x-hop", b"1"),
    ]
    async with Node(make_upstream(leg)) as node:
        await node.ask(make_request(BODY, headers=headers, query=b"beta=true&x=%2F..%2f"))

    (sent,) = leg.requests
    assert sent.method == b"POST"
    assert sent.target == b"/v1/chat/completions?beta=true&x=%2F..%2f"
    assert sent.body is BODY
    assert sent.headers == [*headers[:3], (b"authorization", b"Bearer sk-node")]


async def test_the_answer_passes_byte_for_byte() -> None:
    fields: Headers = [
        (b"content-type", b"application/json"),
        (b"retry-after", b"3"),
        (b"x-ratelimit-remaining-tokens", b"7"),
        (b"anthropic-ratelimit-requests-limit", b"8"),
        (b"request-id", b"req_1"),
        (b"x-two", b"a"),
        (b"x-two", b"b"),
    ]
    hop = [(b"connection", b"close, x-hop"), (b"x-hop", b"1"), (b"transfer-encoding", b"chunked")]
    async with Node(make_upstream(ScriptedLeg(ok([*hop, *fields])))) as node:
        sink = await node.ask(make_request(BODY))

    assert (sink.status, sink.body, sink.finished) == (200, ANSWER, True)
    own = [(b"x-request-id", b"request-1")]
    own.append((b"cache-status", b"fairlead; fwd=bypass; detail=temperature"))
    assert sink.headers == fields + own


async def test_the_upstreams_own_request_id_is_kept() -> None:
    reply = ok([*JSON, (b"x-request-id", b"req_upstream")])
    async with Node(make_upstream(ScriptedLeg(reply))) as node:
        sink = await node.ask(make_request(BODY))

    assert [value for name, value in sink.headers if name == b"x-request-id"] == [b"req_upstream"]


@pytest.mark.parametrize("encode", [gzip.compress, zstandard.compress])
async def test_a_compressed_body_is_read_and_passes_as_it_came(encode) -> None:  # type: ignore[no-untyped-def]  # two libraries' functions
    leg = ScriptedLeg(ok())
    coding = b"gzip" if encode is gzip.compress else b"zstd"
    body = encode(b'{"model":"m","temperature":0}')
    request = make_request(body, headers=[(b"content-encoding", coding)])
    async with Node(make_upstream(leg, models=["m"])) as node:
        sink = await node.ask(request)
        assert sink.header(b"cache-status") == b"fairlead; fwd=miss; stored"
        # The same request uncompressed is the same request.
        again = await node.ask(make_request(b'{"temperature":0,"model":"m"}'))

    assert again.header(b"cache-status") == b"fairlead; hit"
    (sent,) = leg.requests
    assert sent.body is body
    assert (b"content-encoding", coding) in sent.headers


@pytest.mark.parametrize(
    ("shape", "base_path", "path", "target"),
    [
        ("openai", "/v1", CHAT, b"/v1/chat/completions"),
        ("openai", "", CHAT, b"/chat/completions"),
        ("openai", "/proxy/v1", b"/v1/files/x%20y", b"/proxy/v1/files/x%20y"),
        ("openai", "/v1", b"/v1/", b"/v1/"),
        ("anthropic", "", MESSAGES, b"/v1/messages"),
        ("anthropic", "/a", b"/v1/messages/count_tokens", b"/a/v1/messages/count_tokens"),
        ("simulated", "", CHAT, b"/v1/chat/completions"),
        ("simulated", "", MESSAGES, b"/v1/messages"),
    ],
)  # fmt: skip
async def test_targets_are_made_as_the_apis_own_clients_do(
    shape: str, base_path: str, path: bytes, target: bytes
) -> None:
    leg = ScriptedLeg(ok())
    async with Node(make_upstream(leg, shape=shape, base_path=base_path)) as node:
        await node.ask(make_request(BODY, path=path))

    assert leg.requests[0].target == target


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (b"GET", b"/v1/files", b""),
        (b"POST", b"/v1/files", b"--boundary\r\nnot json"),
        (b"DELETE", b"/v1/responses/resp_1", b""),
        (b"POST", b"/v1/anything", b"{broken"),
        (b"POST", b"/v1/anything", b'{"model": 7}'),
        (b"GET", b"/v1/chat/completions", b""),
        (b"OPTIONS", b"/v1/messages", b""),
        (b"GET", b"/v1/models/m", b""),
        (b"GET", b"/v1/models/vendor/m", b""),
        (b"GET", b"/v1/models/vendor%2Fm", b""),
    ],
)
async def test_every_other_request_passes_too(method: bytes, path: bytes, body: bytes) -> None:
    leg = ScriptedLeg(ok(body=b"whatever", headers=[]))
    async with both(leg, models=["m", "vendor/*"]) as node:
        sink = await node.ask(make_request(body, path=path, method=method))

    assert sink.body == b"whatever"
    assert (leg.requests[0].method, leg.requests[0].body) == (method, body)
    assert sink.header(b"cache-status") == b"fairlead; fwd=bypass; detail=not-cacheable"


async def test_a_body_in_a_coding_unknown_here_passes_where_nothing_of_it_is_needed() -> None:
    leg = ScriptedLeg(ok())
    headers = [(b"content-encoding", b"br")]
    async with Node(make_upstream(leg)) as node:
        sink = await node.ask(make_request(b"\x0b", path=b"/v1/files", headers=headers))

    assert sink.status == 200


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503])
@EVERY_SHAPE
async def test_errors_of_the_upstream_pass_untouched(status: int, path: bytes) -> None:
    text = b'{"error": "prompt is too long: 210000 tokens > 200000 maximum"}'
    headers: Headers = [*JSON, (b"retry-after", b"9")]
    async with both(ScriptedLeg(ok(headers, text, status))) as node:
        sink = await node.ask(make_request(b'{"model":"m","temperature":0}', path=path))

    assert (sink.status, sink.body) == (status, text)
    assert sink.header(b"retry-after") == b"9"
    assert sink.header(b"cache-status") == b"fairlead; fwd=miss"
    assert node.record.outcome == "ok"
    assert node.record.status == status


# ---- the list of models


async def test_the_models_of_all_upstreams_are_one_list() -> None:
    def listing(*names: str) -> ScriptedReply:
        return ok(body=json.dumps({"data": [{"id": name} for name in names]}).encode())

    one = make_upstream(ScriptedLeg(listing("a", "hidden")), models=["a*"], name="one")
    two = make_upstream(ScriptedLeg(listing("b")), models=["b"], name="two")
    request = make_request(path=b"/v1/models", method=b"GET")
    async with Node(one, two) as node:
        sink = await node.ask(request)
        again = await node.ask(request)

    assert json.loads(sink.body) == {"object": "list", "data": [{"id": "a"}, {"id": "b"}]}
    assert sink.header(b"cache-status") == b"fairlead; fwd=miss; stored"
    assert again.header(b"cache-status") == b"fairlead; hit"
    assert again.body == sink.body


async def test_the_upstreams_list_is_asked_for_in_a_coding_that_is_read_here() -> None:
    """Node's fetch and browsers take br; a list in br could not be merged."""
    leg = ScriptedLeg(ok(body=b'{"data":[]}'))
    headers = [(b"accept-encoding", b"gzip, deflate, br")]
    async with Node(make_upstream(leg, models=["m"])) as node:
        await node.ask(make_request(path=b"/v1/models", method=b"GET", headers=headers))

    accepted = [value for name, value in leg.requests[0].headers if name == b"accept-encoding"]
    assert all(b"br" not in value for value in accepted)


async def test_a_callers_refused_key_is_told_by_the_list_of_models_too() -> None:
    text = b'{"error":"Incorrect API key"}'
    leg = ScriptedLeg(ok(JSON, text, 401))
    upstream = make_upstream(leg, credentials="caller", models=["m"])
    async with Node(upstream) as node:
        sink = await node.ask(make_request(path=b"/v1/models", method=b"GET"))

    assert (sink.status, sink.body) == (401, text)


# ---- credentials and the cache


async def test_callers_with_their_own_keys_share_only_with_themselves() -> None:
    leg = ScriptedLeg(lambda _: ok())
    body = b'{"model":"m","temperature":0}'

    def by(name: bytes) -> ModelRequest:
        return make_request(body, headers=[(b"authorization", b"Bearer " + name)])

    async with Node(make_upstream(leg, credentials="caller")) as node:
        for name, expected in (
            (b"ada", b"fairlead; fwd=miss; stored"),
            (b"ada", b"fairlead; hit"),
            (b"bob", b"fairlead; fwd=miss; stored"),
            (b"bob", b"fairlead; hit"),
        ):
            sink = await node.ask(by(name))
            assert sink.header(b"cache-status") == expected


async def test_opening_and_closing_opens_and_closes_the_legs() -> None:
    leg = ScriptedLeg(ok())
    async with Node(make_upstream(leg)):
        assert leg.is_open
    assert not leg.is_open

"""Every fault is told clearly, in the shape of the API that was called."""

from __future__ import annotations

import gzip
import json

import pytest
import zstandard

from fairlead.errors import (
    CapacityError,
    FairleadError,
    RequestError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from fairlead.gateway.legs.base import Headers
from support.gateway import (
    EVENTS,
    JSON,
    RecordingSink,
    ScriptedLeg,
    ScriptedReply,
    make_request,
    make_upstream,
)
from support.node import Node, several

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


def error_of(sink: RecordingSink) -> dict[str, object]:
    """The error object of either API; checks what surrounds it."""
    body = json.loads(sink.body)
    assert isinstance(body["error"], dict)
    assert sink.header(b"content-type") == b"application/json"
    assert sink.header(b"content-length") == b"%d" % len(sink.body)
    assert sink.header(b"x-request-id") == b"request-1"
    assert set(body) <= {"type", "error"}
    return dict(body["error"])


# ---- the caller's mistakes


@EVERY_SHAPE
async def test_an_unknown_model_is_told_the_known_ones(path: bytes) -> None:
    leg = ScriptedLeg(ok())
    async with both(leg, models=["qwen*", "gpt-4"]) as node:
        sink = await node.ask(make_request(b'{"model":"gpt-5"}', path=path))

    error = error_of(sink)
    assert sink.status == 404
    assert error["message"] == "The model 'gpt-5' is not served here. Known models: qwen*, gpt-4"
    if path == MESSAGES:
        assert error["type"] == "not_found_error"
    else:
        assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert leg.requests == []
    assert (node.record.outcome, node.record.status) == ("rejected", 404)


@EVERY_SHAPE
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{'model': 'm'}", "not valid JSON"),
        (b'{"model":"m"} {}', "not valid JSON"),
        (b'\xef\xbb\xbf{"model":"m"}', "not valid JSON"),
        ('{"model":"m"}'.encode("utf-16"), "not valid JSON"),
        (b'{"model":"\xff"}', "UTF-8"),
        (b"[]", "must be a JSON object"),
        (b'"m"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"model":7}', "model must be a string"),
        (b'{"model":null}', "model must be a string"),
        (b'{"model":["m"]}', "model must be a string"),
        (b"{}", "model is missing"),
        (b'{"model":""}', "model is missing"),
        (b'{"model":"m","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"model":"m","temperature":1e999}', "out of range"),
    ],
)
async def test_bodies_that_are_no_request_are_refused_clearly(
    path: bytes, body: bytes, says: str
) -> None:
    leg = ScriptedLeg(ok())
    async with both(leg) as node:
        sink = await node.ask(make_request(body, path=path))

    error = error_of(sink)
    assert sink.status == 400
    assert says in str(error["message"])
    assert error["type"] == "invalid_request_error"
    assert leg.requests == []
    assert sink.header(b"cache-status") == b"fairlead; fwd=bypass"


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/../admin",
        b"/v1/./models",
        b"/v1/files/..",
        b"/v1/%2e%2e/admin",
        b"/v1/%2E./admin",
        b"/v1/.%2e",
        b"/v1/files%2f..%2f..%2fadmin",
        b"/v1/files/..%2Fadmin",
        b"/v1/files\\..\\admin",
        b"/v1/files%5c..%5Cadmin",
        b"/v1/x%5C%2e%2E",
    ],
)
async def test_dot_segments_never_reach_the_upstream(path: bytes) -> None:
    leg = ScriptedLeg(ok())
    async with Node(make_upstream(leg)) as node:
        sink = await node.ask(make_request(path=path, method=b"GET"))

    assert sink.status == 400
    assert "segments" in str(error_of(sink)["message"])
    assert leg.requests == []


@pytest.mark.parametrize(
    "path", [b"/v1/files/..x", b"/v1/files/a.b", b"/v1/.well-known", b"/v1/%2ex"]
)
async def test_dots_elsewhere_in_a_path_are_no_dot_segments(path: bytes) -> None:
    leg = ScriptedLeg(ok())
    async with Node(make_upstream(leg)) as node:
        sink = await node.ask(make_request(path=path, method=b"GET"))

    assert sink.status == 200
    assert leg.requests[0].target == path


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"gzip", b"no gzip", 400),
        (b"gzip", gzip.compress(b'{"model":"m"}')[:-4], 400),
        (b"br", b"x", 400),
        (b"gzip", gzip.compress(bytes(2 << 20)), 413),
        (b"zstd", zstandard.compress(bytes(2 << 20)), 413),
    ],
)
async def test_bad_and_huge_encodings_are_refused(coding: bytes, body: bytes, status: int) -> None:
    leg = ScriptedLeg(ok())
    request = make_request(body, headers=[(b"content-encoding", coding)])
    async with Node(make_upstream(leg)) as node:
        sink = await node.ask(request)

    error_of(sink)
    assert sink.status == status
    assert leg.requests == []


async def test_a_family_that_no_upstream_speaks_is_told_what_to_do() -> None:
    async with Node(make_upstream(ScriptedLeg(ok()))) as node:
        sink = await node.ask(make_request(b'{"model":"m"}', path=MESSAGES))

    assert sink.status == 404
    assert "no upstream here speaks the anthropic API" in str(error_of(sink)["message"])


# ---- the upstream's faults


@EVERY_SHAPE
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_of_ours_that_is_refused_is_no_fault_of_the_caller(
    path: bytes, status: int
) -> None:
    reply = ok(JSON, b'{"error":"Incorrect API key sk-no***de"}', status)
    leg = ScriptedLeg(reply)
    async with both(leg, name="gpu-1") as node:
        sink = await node.ask(make_request(BODY, path=path))

    error = error_of(sink)
    assert sink.status == 502
    assert "'gpu-1'" in str(error["message"])
    assert b"Incorrect" not in sink.body
    assert b"sk-no" not in sink.body
    assert sink.header(b"x-should-retry") == b"false"
    assert reply.closed
    record = node.record
    assert (record.outcome, record.upstream, record.error_kind) == (
        "upstream_error",
        "gpu-1",
        "credentials",
    )


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_of_the_callers_that_is_refused_is_told_as_it_is(status: int) -> None:
    text = b'{"error":"Incorrect API key"}'
    leg = ScriptedLeg(ok(JSON, text, status))
    headers = [(b"authorization", b"Bearer the-callers")]
    async with Node(make_upstream(leg, credentials="caller")) as node:
        sink = await node.ask(make_request(BODY, headers=headers))

    assert (sink.status, sink.body) == (status, text)
    assert leg.requests[0].headers == headers


@pytest.mark.parametrize(
    ("error", "openai", "anthropic", "code"),
    [
        (UpstreamUnreachableError("gpu-1"), 502, 502, "upstream_unreachable"),
        (UpstreamBrokenError("gpu-1"), 502, 502, "upstream_broken"),
        (UpstreamTimeoutError("gpu-1"), 504, 504, "upstream_timeout"),
        (UpstreamBusyError("gpu-1"), 503, 529, "upstream_busy"),
    ],
)
@pytest.mark.parametrize("temperature", [b"0", b"1"])
@EVERY_SHAPE
async def test_faults_before_the_head_name_the_upstream_in_the_apis_shape(
    error: FairleadError, openai: int, anthropic: int, code: str, temperature: bytes, path: bytes
) -> None:
    body = b'{"model":"m","temperature":%b}' % temperature
    async with both(ScriptedLeg(error)) as node:
        sink = await node.ask(make_request(body, path=path))

    told = error_of(sink)
    assert sink.status == (anthropic if path == MESSAGES else openai)
    assert "'gpu-1'" in str(told["message"])
    if path != MESSAGES:
        assert told["code"] == code
    busy = isinstance(error, UpstreamBusyError)
    assert sink.header(b"retry-after") == (b"1" if busy else None)
    record = node.record
    assert (record.outcome, record.upstream) == ("upstream_error", "gpu-1")
    assert record.error_kind == code.removeprefix("upstream_")


@pytest.mark.parametrize("fault", [UpstreamUnreachableError, UpstreamBusyError])
async def test_an_upstream_that_cannot_be_had_is_passed_over(
    fault: type[UpstreamUnreachableError],
) -> None:
    legs = ScriptedLeg(fault("one")), ScriptedLeg(ok())
    upstreams = [make_upstream(leg, name=name) for leg, name in zip(legs, "12", strict=True)]
    async with Node(*upstreams) as node:
        sink = await node.ask(make_request(BODY))

    assert sink.status == 200
    assert node.record.upstream == "2"


async def test_when_nobody_can_be_had_the_last_fault_is_told() -> None:
    legs = ScriptedLeg(UpstreamUnreachableError("up-1")), ScriptedLeg(UpstreamBusyError("up-2"))
    async with Node(*several(*legs)) as node:
        sink = await node.ask(make_request(BODY))

    assert (sink.status, node.record.upstream) in {(502, "up-1"), (503, "up-2")}
    assert node.record.upstream in str(error_of(sink)["message"])
    assert [len(leg.requests) for leg in legs] == [1, 1]


@pytest.mark.parametrize(
    ("path", "last"),
    [
        (CHAT, {"error": {"type": "server_error", "code": "upstream_broken", "param": None}}),
        (RESPONSES, {"type": "error", "code": "upstream_broken", "sequence_number": 5}),
        (MESSAGES, {"type": "error", "error": {"type": "api_error"}}),
    ],
)
@pytest.mark.parametrize("temperature", [b"0", b"1"])
@pytest.mark.parametrize("cut", [b"", b"data: {cut"])
async def test_a_stream_that_breaks_ends_with_the_apis_own_error_event(
    path: bytes, last: dict[str, object], temperature: bytes, cut: bytes
) -> None:
    sent = b'event: x\ndata: {"sequence_number":4}\n\n'
    reply = ScriptedReply(headers=EVENTS)
    reply.feed(sent, cut)
    reply.fail(UpstreamBrokenError("gpu-1"))
    body = b'{"model":"m","stream":true,"temperature":%b}' % temperature
    leg = ScriptedLeg(reply)
    async with both(leg) as node:
        sink = await node.ask(make_request(body, path=path))
        node.check_idle([leg])

    assert sink.status == 200
    assert sink.finished
    assert sink.body.startswith(sent + cut)
    rest = sink.body[len(sent + cut) :]
    assert rest.startswith(b"\n\n") == bool(cut)
    event = json.loads(rest.partition(b"data: ")[2])
    _contains(event, last)
    assert "'gpu-1'" in json.dumps(event)
    record = node.record
    assert (record.outcome, record.error_kind) == ("upstream_broken", "broken")
    assert record.response_bytes >= len(sent + cut)


def _contains(found: object, wanted: dict[str, object]) -> None:
    assert isinstance(found, dict)
    for key, value in wanted.items():
        if isinstance(value, dict):
            _contains(found[key], value)
        else:
            assert found[key] == value


@pytest.mark.parametrize(
    "headers", [JSON, [], [*EVENTS, (b"content-encoding", b"gzip")]], ids=["json", "none", "gzip"]
)
async def test_a_plain_or_compressed_answer_that_breaks_is_broken_off(headers: Headers) -> None:
    reply = ScriptedReply(headers=headers)
    reply.feed(b"half")
    reply.fail(UpstreamBrokenError("gpu-1"))
    async with Node(make_upstream(ScriptedLeg(reply))) as node:
        sink = await node.ask(make_request(BODY))

    assert (sink.body, sink.aborted, sink.finished) == (b"half", True, False)
    assert node.record.outcome == "upstream_broken"


async def test_an_idle_stream_ends_with_the_deadline_named() -> None:
    reply = ScriptedReply(headers=EVENTS)
    reply.feed(b"data: {}\n\n")
    reply.fail(UpstreamTimeoutError("gpu-1"))
    async with Node(make_upstream(ScriptedLeg(reply))) as node:
        sink = await node.ask(make_request(b'{"model":"m","stream":true}'))

    assert b"upstream_timeout" in sink.body
    assert node.record.error_kind == "timeout"


# ---- requests that never became whole


@EVERY_SHAPE
@pytest.mark.parametrize(
    ("error", "status"),
    [(RequestError(413, "too large"), 413), (RequestError(408, "too slow"), 408)],
)
async def test_a_refusal_by_the_server_has_the_apis_shape(
    path: bytes, error: FairleadError, status: int
) -> None:
    sink = RecordingSink()
    async with both(ScriptedLeg(ok())) as node:
        node.gateway.refuse(make_request(path=path), sink, error)

    error_of(sink)
    assert (sink.status, sink.finished) == (status, True)
    assert (node.record.status, node.record.outcome) == (status, "rejected")


async def test_a_full_node_asks_to_come_back() -> None:
    sink = RecordingSink()
    async with both(ScriptedLeg(ok())) as node:
        node.gateway.refuse(make_request(path=MESSAGES), sink, CapacityError())

    assert sink.status == 529
    assert sink.header(b"retry-after") == b"1"

"""The application without a socket: pace, limits, faults, errors, statistics."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import msgspec
import pytest
import zstandard

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
USER = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4", "messages": USER},
    RESPONSES: {"model": "gpt-4", "input": "hello"},
    MESSAGES: {"model": "claude", "max_tokens": 1000, "messages": USER},
}
DEEP = b'{"model":"m","messages":[{"role":"user"}],"response_format":{"a":%s' % (b"[" * 100_000)
PATHS = list(BODIES)


def last(exchange: Any) -> str:
    return exchange.events[-1] if exchange.events else ""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
async def test_every_answer_is_named_as_simulated(client: Any, path: str, stream: bool) -> None:
    exchange = await client().ask(path, BODIES[path] | {"stream": stream})
    assert exchange.status == 200
    assert exchange.complete
    assert exchange.headers["x-fairlead-simulated"] == "true"
    assert b'"model":"simulated-' in exchange.body


@pytest.mark.parametrize("path", PATHS)
async def test_stream_and_plain_answer_carry_the_same_text(client: Any, path: str) -> None:
    plain = await client().ask(path, BODIES[path])
    stream = await client().ask(path, BODIES[path] | {"stream": True})
    pieces = []
    for event in stream.events:
        data = event.rpartition("data: ")[2]
        if data == "[DONE]":
            continue
        decoded = msgspec.json.decode(data)
        if path == CHAT:
            pieces += [c["delta"].get("content") or "" for c in decoded["choices"]]
        elif path == RESPONSES and decoded["type"] == "response.output_text.delta":
            pieces.append(decoded["delta"])
        elif decoded.get("type") == "content_block_delta":
            pieces.append(decoded["delta"]["text"])
    text = "".join(pieces)
    assert text.startswith("Simulated answer")
    assert msgspec.json.encode(text) in plain.body


async def test_the_first_token_waits_for_uncached_prompt_tokens(client: Any) -> None:
    one = client(ttft=0.1, prefill=2.0)
    body = BODIES[CHAT] | {"stream": True}
    body["messages"] = [{"role": "user", "content": "x" * 4 * 2048}]
    first = await one.start(CHAT, body)
    await one.clock.advance(4.15)
    assert first.status is None
    await one.clock.advance(0.1)
    assert first.complete
    again = await one.start(CHAT, body)
    assert again.status is None
    await one.clock.advance(0.15)
    assert again.complete


async def test_tokens_come_at_their_pace(client: Any) -> None:
    one = client(tokens_per_second=10, answer_tokens=5)
    stream = await one.start(CHAT, BODIES[CHAT] | {"stream": True})
    counts = []
    for _ in range(5):
        counts.append(stream.body.count(b'"content":') - 1)
        await one.clock.advance(0.1001)
    # The role comes with the first token; that token waits for nothing.
    assert counts == [1, 2, 3, 4, 5]
    assert stream.complete


async def test_a_plain_answer_comes_when_its_last_token_would(client: Any) -> None:
    one = client(ttft=1, tokens_per_second=10, answer_tokens=11)
    plain = await one.start(MESSAGES, BODIES[MESSAGES])
    await one.clock.advance(1.9)
    assert plain.status is None
    await one.clock.advance(0.2)
    assert plain.status == 200


async def test_a_client_that_leaves_ends_its_stream_at_once(client: Any) -> None:
    one = client(tokens_per_second=1)
    stream = await one.start(MESSAGES, BODIES[MESSAGES] | {"stream": True})
    await one.clock.advance(1.5)
    assert one.app.statistics().active == 1
    stream.leave()
    async with asyncio.timeout(5):
        await stream.task
    sent = len(stream.sent)
    await one.clock.advance(100)
    assert len(stream.sent) == sent
    figures = one.app.statistics()
    assert (figures.active, figures.cancelled, figures.completed) == (0, 1, 0)
    assert figures.last[-1].outcome == "cancelled"


async def test_a_client_that_leaves_before_the_first_byte_counts_too(client: Any) -> None:
    one = client(ttft=10)
    plain = await one.start(CHAT, BODIES[CHAT])
    plain.leave()
    async with asyncio.timeout(5):
        await plain.task
    assert plain.sent == []
    assert one.app.statistics().cancelled == 1


@pytest.mark.parametrize(("path", "status"), [(CHAT, 429), (MESSAGES, 529)])
async def test_too_many_at_a_time_are_refused(client: Any, path: str, status: int) -> None:
    one = client(ttft=1, max_concurrency=2, retry_after=9)
    held = [await one.start(path, BODIES[path]) for _ in range(2)]
    refused = await one.ask(path, BODIES[path])
    assert refused.status == status
    assert refused.headers["retry-after"] == "9"
    await one.clock.advance(5)
    assert [exchange.status for exchange in held] == [200, 200]
    assert one.app.statistics().errors == {str(status): 1}


@pytest.mark.parametrize(
    ("path", "configured", "status", "kind"),
    [
        (CHAT, 500, 500, "server_error"),
        (CHAT, 529, 503, "server_error"),
        (CHAT, 429, 429, "requests"),
        (RESPONSES, 503, 503, "server_error"),
        (MESSAGES, 500, 500, "api_error"),
        (MESSAGES, 503, 529, "overloaded_error"),
        (MESSAGES, 429, 429, "rate_limit_error"),
    ],
)
async def test_errors_on_purpose(
    client: Any, path: str, configured: int, status: int, kind: str
) -> None:
    exchange = await client(error_rate=1.0, error_status=configured).ask(path, BODIES[path])
    assert exchange.status == status
    assert exchange.json["error"]["type"] == kind
    assert "imulated" in exchange.json["error"]["message"]
    assert ("retry-after" in exchange.headers) == (status != 500)


async def test_the_error_rate_is_met_and_the_same_each_time(client: Any) -> None:
    async def run() -> list[int]:
        one = client(error_rate=0.25)
        return [(await one.ask(CHAT, BODIES[CHAT])).status for _ in range(400)]

    first = await run()
    assert 60 < first.count(500) < 140
    assert await run() == first


async def test_a_status_on_request(client: Any) -> None:
    exchange = await client().ask(
        MESSAGES, BODIES[MESSAGES], x_simulate_status="529", x_simulate_retry_after="3"
    )
    assert (exchange.status, exchange.headers["retry-after"]) == (529, "3")
    assert exchange.json["type"] == "error"
    assert exchange.json["request_id"] == exchange.headers["request-id"]


async def test_times_and_length_on_request(client: Any) -> None:
    one = client(ttft=1000, tokens_per_second=0.001)
    stream = await one.start(
        CHAT,
        BODIES[CHAT] | {"stream": True},
        x_simulate_ttft="0.5",
        x_simulate_tokens_per_second="0",
        x_simulate_events="40",
    )
    await one.clock.advance(0.4)
    assert stream.status is None
    await one.clock.advance(0.2)
    assert stream.complete
    assert stream.body.count(b'"delta":{"content":') == 40


@pytest.mark.parametrize("events", [0, 1, 7])
async def test_a_stream_that_breaks_on_request(client: Any, events: int) -> None:
    one = client(answer_tokens=20)
    body = BODIES[RESPONSES] | {"stream": True}
    exchange = await one.ask(RESPONSES, body, x_simulate_break_after=str(events))
    assert exchange.closed
    assert not exchange.complete
    assert len(exchange.events) == events
    assert one.app.statistics().broken == 1


async def test_a_plain_answer_that_breaks_on_request(client: Any) -> None:
    exchange = await client().ask(CHAT, BODIES[CHAT], x_simulate_break_after="0")
    assert exchange.closed
    assert 0 < len(exchange.body) < int(exchange.headers["content-length"])


async def test_a_stream_shorter_than_the_break_is_whole(client: Any) -> None:
    body = BODIES[CHAT] | {"stream": True}
    exchange = await client(answer_tokens=3).ask(CHAT, body, x_simulate_break_after="1000")
    assert exchange.complete
    assert last(exchange) == "data: [DONE]"


@pytest.mark.parametrize(
    ("path", "body", "param", "told"),
    [
        (CHAT, {"messages": USER}, "model", "Missing required parameter: 'model'."),
        (CHAT, {"model": "m", "messages": 1}, "messages", "Invalid type for 'messages'"),
        (CHAT, {"model": "m", "messages": []}, "messages", "Invalid value for 'messages'"),
        (CHAT, {"model": "m", "messages": [{}]}, "messages[0].role", "Missing required"),
        (CHAT, {"model": "m", "messages": USER, "n": 0}, "n", "Invalid value for 'n'"),
        (RESPONSES, {"model": "m", "input": []}, "input", "Invalid value for 'input'"),
        (RESPONSES, {"model": "m", "input": "x", "background": True}, "background", "foreground"),
        (
            RESPONSES,
            {"model": "m", "input": "x", "previous_response_id": "resp_1"},
            "previous_response_id",
            "not found",
        ),
        (CHAT, b"[]", None, "Invalid type for 'body'"),
        (CHAT, b"{", None, "not valid JSON"),
        (CHAT, b"\xff", None, "not valid JSON"),
        (CHAT, DEEP, None, "nested too deep"),
        ("/v1/embeddings", {"model": "m", "input": []}, "input", "1 to 2,048"),
        ("/v1/embeddings", {"model": "m", "input": [[1], [-1]]}, "input", "token numbers"),
        ("/v1/embeddings", {"model": "m", "input": ["x"] * 2049}, "input", "at most 2,048"),
    ],
)
async def test_openai_errors_of_the_caller(
    client: Any, path: str, body: Any, param: str | None, told: str
) -> None:
    exchange = await client().ask(path, body)
    error = exchange.json["error"]
    assert exchange.status == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert told in error["message"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"model": "m", "messages": USER}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": "1", "messages": USER}, "max_tokens: expected `int`"),
        (
            {"model": "m", "max_tokens": 1, "messages": [{"role": "x", "content": ""}]},
            "messages.0.role: invalid enum value 'x'",
        ),
        (b"nonsense", "not valid JSON"),
    ],
)
async def test_anthropic_errors_of_the_caller(client: Any, body: Any, told: str) -> None:
    exchange = await client().ask(MESSAGES, body)
    assert exchange.status == 400
    assert exchange.json["error"]["type"] == "invalid_request_error"
    assert told in exchange.json["error"]["message"]


async def test_huge_numbers_are_repeated_as_numbers(client: Any) -> None:
    raw = b'{"model":"m","input":"x","metadata":{"a":%s,"b":-%s}}' % (b"9" * 30, b"9" * 30)
    exchange = await client().ask(RESPONSES, raw)
    assert exchange.json["metadata"] == {"a": 10**30 - 1, "b": 1 - 10**30}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "family"),
    [
        ("POST", "/v1/nothing", {}, 404, "openai"),
        ("POST", "/v1/nothing", {"anthropic-version": "2023-06-01"}, 404, "anthropic"),
        ("POST", "/v1/messages/batches", {}, 404, "anthropic"),
        ("GET", CHAT, {}, 405, "openai"),
        ("DELETE", MESSAGES, {}, 405, "anthropic"),
        ("POST", "/v1/models", {}, 405, "openai"),
        ("GET", "/v1", {}, 404, "openai"),
        ("POST", CHAT, {"x-simulate-status": "200"}, 400, "openai"),
    ],
)
async def test_refusals_have_the_shape_that_was_called(
    client: Any, method: str, path: str, headers: dict[str, str], status: int, family: str
) -> None:
    exchange = await client().ask(path, {}, method, **headers)
    assert exchange.status == status
    assert ("request_id" in exchange.json) == (family == "anthropic")


async def test_a_body_over_the_limit_is_refused_and_the_connection_closed(client: Any) -> None:
    one = client(max_body_bytes=1000)
    exchange = await one.ask(MESSAGES, b"x" * 1001)
    assert (exchange.status, exchange.headers["connection"]) == (413, "close")
    assert exchange.json["error"]["type"] == "request_too_large"
    bomb = await one.ask(CHAT, gzip.compress(b" " * 100_000), content_encoding="gzip")
    assert bomb.status == 413


async def test_compressed_bodies(client: Any) -> None:
    raw = msgspec.json.encode(BODIES[CHAT])
    for coding, packed in (("gzip", gzip.compress(raw)), ("zstd", zstandard.compress(raw))):
        assert (await client().ask(CHAT, packed, content_encoding=coding)).status == 200
    assert (await client().ask(CHAT, raw, content_encoding="gzip")).status == 400
    assert (await client().ask(CHAT, raw, content_encoding="br")).status == 415


async def test_own_pages(client: Any) -> None:
    one = client(name="sim-7")
    health = await one.ask("/healthz", method="GET")
    assert health.json == {"status": "ok", "simulated": True, "name": "sim-7"}
    assert (await one.ask("/other", method="GET")).status == 404
    assert (await one.ask("/stats", method="GET")).json["requests"] == {}


async def test_statistics(client: Any) -> None:
    one = client()
    await one.ask(CHAT, BODIES[CHAT])
    await one.ask(CHAT, BODIES[CHAT], x_simulate_status="500")
    for number in range(150):
        await one.ask(f"/v1/unknown/{number}/{'x' * 1000}")
    figures = (await one.ask("/stats", method="GET")).json
    assert figures["requests"] == {CHAT: 2, "other": 150}
    assert figures["errors"] == {"500": 1, "404": 150}
    assert (figures["completed"], figures["active"]) == (1, 0)
    assert len(figures["last"]) == 100
    assert max(len(visit["path"]) for visit in figures["last"]) == 200


async def test_other_kinds_of_connection_are_left_alone(client: Any) -> None:
    await client().app({"type": "lifespan"}, None, None)

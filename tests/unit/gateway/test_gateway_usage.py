"""The record at a request's end: tokens of each shape, bytes, times."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from fairlead.core.identity import Principal
from fairlead.gateway.base import UsageRecord
from fairlead.gateway.exchange import Sample
from fairlead.gateway.legs.base import Headers
from support.gateway import (
    EVENTS,
    JSON,
    ScriptedLeg,
    ScriptedReply,
    make_request,
    make_upstream,
    turns,
)
from support.node import Node

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

CHAT = b"/v1/chat/completions"
RESPONSES = b"/v1/responses"
MESSAGES = b"/v1/messages"


def events(*data: dict[str, object]) -> bytes:
    lines = []
    for one in data:
        kind = f"event: {one['type']}\n" if "type" in one else ""
        lines.append(f"{kind}data: {json.dumps(one)}\n\n")
    return "".join(lines).encode()


FIGURES = {"input_tokens": 7, "output_tokens": 5}
OPENAI_FIGURES = {"prompt_tokens": 7, "completion_tokens": 5}
FILLER: list[dict[str, object]] = [
    {"choices": [{"delta": {"content": "x" * 200}}]} for _ in range(300)
]
PLAIN = {
    CHAT: json.dumps({"choices": [], "usage": OPENAI_FIGURES}).encode(),
    RESPONSES: json.dumps({"status": "completed", "usage": FIGURES}).encode(),
    MESSAGES: json.dumps({"type": "message", "usage": FIGURES}).encode(),
}
STREAMS = {
    CHAT: events(*FILLER, {"choices": [], "usage": OPENAI_FIGURES}) + b"data: [DONE]\n\n",
    RESPONSES: events(
        {"type": "response.created", "response": {"instructions": "x" * 30_000}},
        *FILLER,
        {
            "type": "response.completed",
            "response": {"tools": "x" * 30_000, "usage": FIGURES, "metadata": {}},
        },
    ),
    MESSAGES: events(
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        *FILLER,
        {"type": "message_delta", "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ),
}


async def record_of(path: bytes, body: bytes, headers: Headers, temperature: float) -> UsageRecord:
    """The record of an answer that comes in pieces as a network would give them."""
    reply = ScriptedReply(headers=headers)
    reply.feed(*(body[at : at + 1500] for at in range(0, len(body), 1500)))
    reply.end()
    upstream = make_upstream(ScriptedLeg(reply), shape="simulated", base_path="")
    request = json.dumps({"model": "m", "temperature": temperature}).encode()
    async with Node(upstream) as node:
        sink = await node.ask(make_request(request, path=path))
    assert sink.body == body
    (record,) = node.records
    return record


@pytest.mark.parametrize("temperature", [0, 1], ids=["cached", "uncached"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_read_in_every_shape(
    path: bytes, stream: bool, temperature: float
) -> None:
    body = (STREAMS if stream else PLAIN)[path]
    record = await record_of(path, body, EVENTS if stream else JSON, temperature)

    assert (record.input_tokens, record.output_tokens) == (7, 5)
    assert record.stream == stream
    assert record.response_bytes == len(body)
    assert (
        record.shape
        == {
            CHAT: "openai",
            RESPONSES: "openai-responses",
            MESSAGES: "anthropic",
        }[path]
    )


async def test_tokens_of_a_compressed_plain_answer_are_read() -> None:
    """The official clients take gzip, and the providers' front ends give it."""
    headers = [*JSON, (b"content-encoding", b"gzip")]
    record = await record_of(CHAT, gzip.compress(PLAIN[CHAT]), headers, 1)

    assert (record.input_tokens, record.output_tokens) == (7, 5)


async def test_tokens_of_a_long_list_of_embeddings_are_read() -> None:
    data = [{"embedding": [0.123456789] * 1536} for _ in range(100)]
    body = json.dumps({"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}).encode()
    assert len(body) > 1 << 20
    record = await record_of(b"/v1/embeddings", body, JSON, 1)

    assert record.input_tokens == 7


async def test_answers_that_followers_share_are_counted_once() -> None:
    reply = ScriptedReply(headers=JSON)
    async with Node(make_upstream(ScriptedLeg(reply))) as node:
        body = b'{"model":"m","temperature":0}'
        asked = [node.start(make_request(body)) for _ in range(5)]
        await turns()
        reply.feed(PLAIN[CHAT])
        reply.end()
        await asyncio.gather(*(task for _, task in asked))

    assert sorted(record.input_tokens or 0 for record in node.records) == [0, 0, 0, 0, 7]


async def test_a_record_says_who_asked_what_of_whom_and_how_long_it_took() -> None:
    reply = ScriptedReply(headers=EVENTS)
    leg = ScriptedLeg(reply)
    leg.gate = asyncio.Event()
    who = Principal("acme", "ada")
    body = b'{"model":"qwen","stream":true}'
    async with Node(make_upstream(leg, name="gpu-1")) as node:
        await node.clock.advance(1)
        sink, task = node.start(make_request(body, principal=who, query=b"q=1"))
        await node.clock.advance(2)
        leg.gate.set()
        await turns()
        await node.clock.advance(3)
        reply.feed(b"data: {}\n\n")
        await turns()
        await node.clock.advance(4)
        reply.end()
        await task

    record = node.record
    assert sink.finished
    assert (record.request_id, record.principal) == ("request-1", who)
    assert (record.method, record.path) == ("POST", "/v1/chat/completions")
    assert (record.model, record.upstream, record.status) == ("qwen", "gpu-1", 200)
    assert record.request_bytes == len(body)
    assert (record.first_byte, record.seconds) == (6, 10)
    assert (record.outcome, record.cache) == ("ok", "bypass")


# ---- the sample


@pytest.mark.parametrize("size", [10, 1000, 20_000])
def test_a_sample_of_a_stream_holds_its_beginning_and_its_end(size: int) -> None:
    sample = Sample(stream=True)
    pieces = [bytes([65 + n % 26]) * size for n in range(400_000 // size)]
    held = 0
    for piece in pieces:
        sample.add(piece)
        held = max(held, sample._head_size + sample._tail_size)
    whole = b"".join(pieces)

    known = sample.known()
    assert known.startswith(whole[: 8 * 1024])
    assert known.endswith(whole[-16 * 1024 :])
    assert sample.end().endswith(whole[-16 * 1024 :])
    assert held <= 8 * 1024 + 2 * 16 * 1024 + 3 * size


def test_a_sample_of_a_plain_answer_is_the_answer() -> None:
    sample = Sample(stream=False)
    for _ in range(1000):
        sample.add(b"x" * 1000)

    assert sample.known() == b"x" * 1_000_000


def test_a_sample_of_nothing_is_empty() -> None:
    assert Sample(stream=True).known() == Sample(stream=True).end() == b""

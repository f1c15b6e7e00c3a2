"""Capture never costs a request: bounds, drops, hostile bodies, and the end."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.identity import LOCAL_PRINCIPAL
from fairlead.errors import ClosedError
from fairlead.gateway.base import UsageRecord
from fairlead.gateway.capture.base import CaptureOptions
from fairlead.gateway.capture.reading import READERS, read_turn
from fairlead.gateway.capture.recorder import BATCH, TurnCapture
from fairlead.gateway.capture.tape import OVERHEAD, TurnTape
from fairlead.gateway.stream import FlightBudget
from support.bodies import BODIES, VALUES
from support.captures import CHAT, CapturingNode, Turns, body_of, plain, shown, speaking, stream
from support.gateway import EVENTS, ScriptedReply, make_request
from support.recordings import CHAT_EVENTS, MESSAGES_EVENTS, RESPONSES_EVENTS

pytestmark = pytest.mark.timeout(10)

ANSWER = {"choices": [{"message": {"content": "yes"}}]}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"0123456789"}}]}\n\n'


def asking(text: str = "hello", **fields: Any) -> bytes:
    return body_of(messages=[{"role": "user", "content": text}], **fields)


# ---- bounds


async def test_of_a_long_answer_the_beginning_is_kept() -> None:
    options = CaptureOptions(max_answer_bytes=3 * (len(EVENT) + OVERHEAD))
    reply = ScriptedReply(200, EVENTS)
    reply.feed(*[EVENT] * 9)
    reply.end()
    async with CapturingNode(speaking(reply), capture=options) as node:
        answer, turn = await node.tell(make_request(asking()))

    assert answer.body == EVENT * 9
    assert shown(turn.answer) == [("assistant", "0123456789" * 3)]
    assert (turn.partial, turn.truncated) == (True, True)


async def test_a_coded_answer_is_not_decoded_beyond_the_bound() -> None:
    coded = gzip.compress(EVENT * 100_000)
    reply = ScriptedReply(200, [*EVENTS, (b"content-encoding", b"gzip")], coded)
    options = CaptureOptions(max_answer_bytes=200_000)
    async with CapturingNode(speaking(reply), capture=options) as node:
        _, turn = await node.tell(make_request(asking()))

    ((_, text),) = shown(turn.answer)
    assert len(text) < 100_000
    assert turn.partial


async def test_an_answer_without_room_is_dropped_and_delivered() -> None:
    piece = EVENT * 9
    # Room for two pieces and the request, but not for three pieces.
    options = CaptureOptions(max_bytes=2 * (len(piece) + OVERHEAD) + 300)
    reply = ScriptedReply(200, EVENTS)
    reply.feed(*[piece] * 3)
    reply.end()
    async with CapturingNode(speaking(reply), capture=options) as node:
        answer = await node.ask(make_request(asking()))
        assert await node.dropped() == {"memory": 1}

    assert answer.body == piece * 3


async def test_a_request_without_room_is_dropped_and_delivered() -> None:
    async with CapturingNode(
        speaking(plain(ANSWER)), capture=CaptureOptions(max_bytes=5000)
    ) as node:
        answer = await node.ask(make_request(asking("x" * 9000)))
        assert await node.dropped() == {"memory": 1}

    assert answer.status == 200


async def test_what_waits_is_bounded() -> None:
    sink = Turns()
    sink.gate = asyncio.Event()
    options = CaptureOptions(max_waiting=5)
    async with CapturingNode(speaking(plain(ANSWER)), sink=sink, capture=options) as node:
        await node.ask(make_request(asking()))
        await sink.waiting.wait()
        for _ in range(7):
            answer = await node.ask(make_request(asking()))
            assert answer.finished
        statistics = node.capture.statistics()
        assert (statistics.waiting, statistics.dropped) == (6, {"queue": 2})
        sink.gate.set()
        await node.capture.flush()
        statistics = node.capture.statistics()
        assert (statistics.captured, statistics.waiting, statistics.bytes) == (6, 0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 500)), max_size=60))
def test_the_budget_is_what_the_tapes_hold(steps: list[tuple[str, int]]) -> None:
    budget = FlightBudget(4000)
    ended: list[TurnTape] = []
    tapes = {
        name: TurnTape(make_request(b"x" * 99), b"x" * 99, budget, ended.append, 2000)
        for name in "abcd"
    }
    for name, size in steps:
        if size:
            tapes[name].add(b"x" * size)
        else:
            tapes[name].release()
        kept = sum(len(p) + OVERHEAD for tape in tapes.values() for p in tape.pieces)
        assert budget.used == kept <= 4000
        assert sum(len(p) + OVERHEAD for p in tapes[name].pieces) <= 2000
    for tape in tapes.values():
        tape.hold()
        tape.release()
        tape.release()
    assert budget.used == 0


# ---- what cannot be read


DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE = [
    b'{"model":"m","messages":' + DEEP + b"}",
    b'{"model":"m","messages":{"role":"user"}}',
    b'{"model":"m","messages":[5]}',
    b'{"model":"m","input":{"a":1}}',
    b'{"model":"m","input":[null]}',
    b'{"model":"m"}',
]


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize("body", HOSTILE)
async def test_what_is_no_conversation_is_counted_and_delivered(body: bytes, path: bytes) -> None:
    async with CapturingNode(speaking(plain(ANSWER))) as node:
        answer = await node.ask(make_request(body, path=path))
        dropped = await node.dropped()
        captured = node.capture.statistics().captured

    assert (answer.status, answer.finished) in {(200, True), (400, True)}
    assert set(dropped) <= {"unreadable"}
    assert sum(dropped.values()) + captured == (answer.status == 200)


async def test_a_body_that_is_not_utf8_is_mended() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a\xffb"}]}'
    async with CapturingNode(speaking(plain(ANSWER))) as node:
        _, turn = await node.tell(make_request(body))

    assert shown(turn.messages) == [("user", "a\ufffdb")]


async def test_ten_megabytes() -> None:
    async with CapturingNode(speaking(plain(ANSWER)), max_body_bytes=1 << 24) as node:
        _, turn = await node.tell(make_request(asking("x" * 10_000_000)))

    assert len(turn.messages[0].content) == 10_000_002


def read(path: bytes, body: bytes, answer: bytes, headers: Any) -> Any:
    def ended(_: TurnTape) -> None:
        pass

    tape = TurnTape(make_request(body, path=path), body, FlightBudget(1 << 30), ended, 1 << 30)
    tape.head(headers)
    tape.add(answer)
    tape.end(
        UsageRecord(request_id="r", principal=LOCAL_PRINCIPAL, method="POST", path="", status=200)
    )
    return read_turn(tape, 1 << 30)


def test_half_of_a_surrogate_pair_is_mended() -> None:
    body = b'{"model":"m","messages":[{"role":"user","name":"\\ud83d","content":"x"}]}'

    assert read(CHAT, body, b"", []).messages[0].metadata == {"name": "\ufffd"}


@given(st.sampled_from(list(READERS)), BODIES, BODIES, st.binary(max_size=40))
def test_no_body_and_no_answer_breaks_the_reading(
    path: bytes, body: Any, answer: Any, noise: bytes
) -> None:
    asked = json.dumps({**body, "messages": [body], "input": [body]}).encode()
    for answered in (json.dumps(answer).encode(), noise):
        read(path, asked, answered, [])
        read(path, asked, b"data: " + answered + b"\n\n", EVENTS)


_KEYS = st.sampled_from(
    ["type", "index", "delta", "choices", "response", "content_block", "output_index", "item"]
)
_TYPES = st.sampled_from(
    ["response.output_item.added", "response.output_text.delta", "content_block_start", "error"]
)


@given(
    st.sampled_from(list(READERS)),
    st.lists(st.dictionaries(_KEYS, _TYPES | VALUES | st.lists(BODIES, max_size=2)), max_size=6),
)
def test_no_events_break_the_reading(path: bytes, data: list[Any]) -> None:
    parts = b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in data)
    known = {CHAT: CHAT_EVENTS, b"/v1/messages": MESSAGES_EVENTS}.get(path, RESPONSES_EVENTS)

    read(path, asking(input="x"), b"".join(known[:3]) + parts + b"".join(known[3:]), EVENTS)


# ---- faults


async def test_a_fault_drops_one_exchange_alone(caplog: pytest.LogCaptureFixture) -> None:
    def unready(turn: Any) -> Exception | None:
        return KeyError("what was said") if shown(turn.messages)[0][1] == "bad" else None

    sink = Turns()
    sink.unready = unready
    sink.gate = asyncio.Event()
    async with CapturingNode(speaking(plain(ANSWER)), sink=sink) as node:
        for text in ("first", *["good"] * 3, "bad", "good"):
            await node.ask(make_request(asking(text)))
        sink.gate.set()
        assert await node.dropped() == {"failed": 1}
        assert node.capture.statistics().captured == 5

    assert "KeyError" in caplog.text
    assert "what was said" not in caplog.text


async def test_what_the_sink_refuses_is_counted() -> None:
    sink = Turns()
    sink.error = ClosedError()
    async with CapturingNode(speaking(plain(ANSWER)), sink=sink) as node:
        await node.ask(make_request(asking()))
        assert await node.dropped() == {"closing": 1}


async def test_a_thread_that_hangs_is_given_up() -> None:
    hanging = threading.Event()

    def unready(_: Any) -> None:
        hanging.wait(5)

    sink = Turns()
    sink.unready = unready
    options = CaptureOptions(read_timeout=0.05)
    async with CapturingNode(speaking(plain(ANSWER)), sink=sink, capture=options) as node:
        await node.ask(make_request(asking()))
        assert await node.dropped() == {"late": 1}
        hanging.set()


# ---- the end


async def test_closing_stores_what_has_ended() -> None:
    sink = Turns()
    sink.gate = asyncio.Event()
    node = CapturingNode(speaking(stream(CHAT_EVENTS)), sink=sink)
    async with node:
        for _ in range(2 * BATCH):
            await node.ask(make_request(asking()))
        sink.gate.set()

    assert node.capture.statistics().captured == len(sink.turns) == 2 * BATCH


async def test_closing_ends_though_the_store_takes_nothing() -> None:
    sink = Turns()
    sink.gate = asyncio.Event()
    options = CaptureOptions(close_timeout=0.05)
    node = CapturingNode(speaking(plain(ANSWER)), sink=sink, capture=options)
    async with node:
        for _ in range(BATCH + 3):
            await node.ask(make_request(asking()))

    statistics = node.capture.statistics()
    assert statistics.dropped == {"closing": BATCH + 3}
    assert (statistics.waiting, statistics.bytes) == (0, 0)


async def test_what_ends_after_the_close_is_counted() -> None:
    reply = ScriptedReply(200, EVENTS)
    async with CapturingNode(speaking(reply)) as node:
        _, task = node.start(make_request(asking()))
        await node.capture.close()
        reply.feed(*CHAT_EVENTS)
        reply.end()
        await task

        assert node.capture.statistics().dropped == {"closing": 1}
        assert node.capture.statistics().bytes == 0


async def test_it_can_be_opened_and_closed_without_work() -> None:
    async with TurnCapture(Turns()) as capture:
        await capture.flush()

    with pytest.raises(ClosedError):
        await capture.flush()

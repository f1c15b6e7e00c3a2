"""Captured turns as records: whose thread, which title, what is masked and left out."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import msgspec
import pytest

from fairlead.app.capturing import RETRY, Mode, TurnRecorder, session_digest
from fairlead.conversations.digests import digest_of
from fairlead.conversations.memory import MemoryThreadStore
from fairlead.conversations.options import WriterOptions
from fairlead.conversations.records import NewMessage, Operation, PageQuery, Record, Viewer
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.core.identity import Principal
from fairlead.errors import CapacityError, ClosedError, FairleadError
from fairlead.gateway.capture.base import CapturedMessage, CapturedTurn
from fairlead.gateway.capture.masks import Masks
from fairlead.testing import ManualClock
from support.gateway import turns

ANN = Principal("acme", "ann", team="core", verified=True)
NOW = 1_700_000_000_000
SECRET = "sk-abcdefghij0123456789"
CALL = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"a":1}'}}


class Shelf:
    """A writer that has room for so many."""

    def __init__(self, room: int = 1000) -> None:
        self.left = room
        self.operations: list[Operation] = []
        self.asked = 0

    def enqueue(self, operation: Operation) -> None:
        if not self.left:
            raise CapacityError
        self.left -= 1
        self.operations.append(operation)

    async def room(self) -> None:
        self.asked += 1


def say(role: str, content: Any, **metadata: Any) -> CapturedMessage:
    return CapturedMessage(role, msgspec.json.encode(content), metadata)


def turn(*messages: CapturedMessage, **fields: Any) -> CapturedTurn:
    given: dict[str, Any] = {
        "principal": ANN,
        "session": "4:acme/s-1",
        "request_id": "r-1",
        "time": NOW,
        "seconds": 1.5,
        "shape": "openai",
        "path": "/v1/chat/completions",
        "model": "m-1",
        "upstream": "up-1",
        "cache": "miss",
        "status": 200,
        "outcome": "ok",
        "stream": True,
        "messages": messages,
    }
    return CapturedTurn(**{**given, **fields})


def recorded(captured: CapturedTurn, *patterns: str, mode: Mode = "full") -> Record:
    return TurnRecorder(Shelf(), mode=mode, masks=Masks(patterns)).prepare(captured)


def contents(messages: tuple[NewMessage, ...]) -> list[Any]:
    return [msgspec.json.decode(message.content) for message in messages]


def test_a_turn_becomes_a_record() -> None:
    record = recorded(
        turn(
            say("user", "Fix the bug"),
            system=[say("system", "Be short.")],
            answer=[say("assistant", "Done.")],
        )
    )

    assert record.viewer == Viewer("acme", "ann", "core")
    assert record.time == NOW + 1500
    assert (record.turn.team, record.turn.title) == ("core", "Fix the bug")
    assert contents(record.turn.system) == ["Be short."]
    assert contents(record.turn.prompt) == ["Fix the bug"]
    assert contents(record.turn.answer) == ["Done."]
    (asked,), (answer,) = record.turn.prompt, record.turn.answer
    assert (asked.timestamp, answer.timestamp) == (NOW, NOW + 1500)
    assert asked.text == "Fix the bug"
    assert asked.digest == digest_of("user", asked.content, {})


def test_ids_are_uuids_of_the_moment_and_ascend() -> None:
    record = recorded(turn(*[say("user", str(number)) for number in range(50)]))
    names = [record.id, record.thread, *(message.id for message in record.turn.prompt)]

    assert names == sorted(names)
    assert len(set(names)) == 52
    for name in names:
        found = uuid.UUID(name)
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
        assert found.int >> 80 == NOW + 1500


def test_what_was_counted_is_told_with_the_last_message() -> None:
    record = recorded(
        turn(
            answer=[say("assistant", "a", name="x"), say("assistant", "b")],
            usage={"prompt_tokens": 3},
            finish_reason="stop",
            response_id="c-1",
            partial=True,
            error="broke",
        )
    )
    first, last = (message.metadata for message in record.turn.answer)

    assert first == {"name": "x", "model": "m-1", "request_id": "r-1"}
    assert last == {
        "model": "m-1",
        "request_id": "r-1",
        "response_id": "c-1",
        "upstream": "up-1",
        "shape": "openai",
        "cache": "miss",
        "usage": {"prompt_tokens": 3},
        "finish_reason": "stop",
        "latency_ms": 1500,
        "partial": True,
        "error": "broke",
    }


# ---- whose thread


def test_two_users_never_share_a_thread() -> None:
    principals = [
        ANN,
        Principal("acme", "bob"),
        Principal("other", "ann"),
        Principal("acm", "eann"),
        Principal("acmeann", ""),
    ]
    found = {session_digest(principal, "s") for principal in principals}

    assert len(found) == len(principals)
    assert session_digest(ANN, "t") not in found
    assert recorded(turn()).turn.session == session_digest(ANN, "4:acme/s-1")


def test_a_session_of_odd_letters() -> None:
    assert len(session_digest(ANN, "\ud800")) == 32


# ---- titles

REMINDER = "<system-reminder>\nToday is Monday.\n</system-reminder>"


@pytest.mark.parametrize(
    ("messages", "title"),
    [
        ([say("user", "Hello there")], "Hello there"),
        ([say("user", [{"type": "text", "text": f"{REMINDER}\nHello"}])], "Hello"),
        (
            [
                say(
                    "user",
                    [{"type": "text", "text": REMINDER}, {"type": "text", "text": "Hello"}],
                )
            ],
            "Hello",
        ),
        ([say("user", [{"type": "input_text", "text": "Hello"}])], "Hello"),
        ([say("user", "an example"), say("assistant", "done"), say("user", "Hello")], "Hello"),
        ([say("user", "Hello"), say("user", REMINDER)], "Hello"),
        (
            [
                say("user", "Hello"),
                say("user", [{"type": "tool_result", "tool_use_id": "t", "content": "file"}]),
            ],
            "Hello",
        ),
        ([say("user", "Generate a title for this conversation:\n"), say("user", "Hello")], "Hello"),
        ([say("user", "Hello"), say("user", "Please write a title for our chat")], "Hello"),
        ([say("user", "Create a title bar")], "Create a title bar"),
        ([say("user", "Hello"), say("user", "Summarize this conversation.")], "Hello"),
        ([say("user", "Write a chat server in Go")], "Write a chat server in Go"),
        ([say("user", "Generate session tokens for it")], "Generate session tokens for it"),
        ([say("assistant", "Hello")], ""),
        ([say("user", None), say("user", [{"type": 5}, 5]), say("user", {"a": 1})], ""),
        ([], ""),
    ],
)
def test_titles(messages: list[CapturedMessage], title: str) -> None:
    assert recorded(turn(*messages)).turn.title == title


def test_a_probe_gives_no_title() -> None:
    assert recorded(turn(say("user", "quota"), max_tokens=1)).turn.title == ""


# ---- masks and modes


def test_what_is_masked_is_nowhere_in_the_record() -> None:
    call = {**CALL, "function": {"name": "f", "arguments": json.dumps({"key": SECRET})}}
    record = recorded(
        turn(
            say("user", f"use {SECRET}"),
            system=[say("system", SECRET)],
            answer=[say("assistant", [{"type": "text", "text": SECRET}], tool_calls=[call])],
            error=SECRET,
        ),
        "secrets",
    )

    assert SECRET not in repr(record)
    assert contents(record.turn.prompt) == ["use [masked]"]
    assert record.turn.title == "use [masked]"
    (answer,) = record.turn.answer
    assert json.loads(answer.metadata["tool_calls"][0]["function"]["arguments"]) == {
        "key": "[masked]"
    }


def test_what_was_masked_is_recognised_when_it_is_sent_again() -> None:
    first = recorded(turn(answer=[say("assistant", f"it is {SECRET}")]), "secrets")
    again = recorded(
        turn(say("assistant", [{"type": "text", "text": f"it is {SECRET}"}])), "secrets"
    )

    assert first.turn.answer[0].digest == again.turn.prompt[0].digest


def test_metadata_alone() -> None:
    record = recorded(
        turn(
            say("user", "secret words"),
            say("tool", "secret result", tool_call_id="c1", name="n", extra="secret"),
            answer=[
                say("assistant", None, tool_calls=[CALL, 5], reasoning_content="secret"),
            ],
            usage={"prompt_tokens": 3},
            error="the prompt is: secret",
        ),
        mode="metadata",
    )

    assert "secret" not in repr(record)
    assert record.turn.title == ""
    assert contents((*record.turn.prompt, *record.turn.answer)) == [None, None, None]
    asked, result = record.turn.prompt
    assert asked.metadata == {"size": 14}
    assert result.metadata == {"tool_call_id": "c1", "name": "n", "size": 15}
    (answer,) = record.turn.answer
    assert answer.metadata["tool_calls"] == [{"id": "c1", "name": "read"}]
    assert answer.metadata["usage"] == {"prompt_tokens": 3}
    assert asked.digest == recorded(turn(say("user", "secret words"))).turn.prompt[0].digest


@pytest.mark.parametrize("patterns", [[], ["secrets"]])
def test_a_content_that_is_nested_too_deeply_is_refused(patterns: list[str]) -> None:
    with pytest.raises(FairleadError, match=r"nested|JSON"):
        recorded(turn(CapturedMessage("user", b"[" * 5000 + b"]" * 5000)), *patterns)


def test_metadata_that_are_nested_too_deeply_are_refused() -> None:
    deep: Any = "text"
    for _ in range(2000):
        deep = [deep]
    for patterns in ([], ["secrets"]):
        with pytest.raises(FairleadError, match="nested"):
            recorded(turn(CapturedMessage("user", b"1", {"deep": deep})), *patterns)


def test_what_became_of_a_request_without_an_answer_is_told_with_the_prompt() -> None:
    record = recorded(turn(say("user", "a"), say("user", "b"), status=503, error="overloaded"))

    first, last = record.turn.prompt
    assert first.metadata == {}
    assert last.metadata["error"] == "overloaded"


# ---- responses that go on from another


async def test_responses_by_their_ids_are_one_conversation() -> None:
    assert await responses_as_threads("ann", "ann", "ann") == [
        ["one", "re: one", "two", "re: two", "three", "re: three"]
    ]


async def test_another_users_response_is_not_gone_on_from() -> None:
    assert sorted(await responses_as_threads("ann", "eve", "ann")) == [
        ["one", "re: one"],
        ["three", "re: three"],
        ["two", "re: two"],
    ]


async def responses_as_threads(*users: str) -> list[list[str]]:
    """What stands in each thread when each response goes on from the last, in its own session."""
    async with MemoryThreadStore("local") as store:
        async with BatchedThreadWriter(store, options=WriterOptions(flush_interval=0)) as writer:
            recorder = TurnRecorder(writer)
            for number, (user, text) in enumerate(zip(users, ("one", "two", "three"), strict=True)):
                captured = turn(
                    say("user", text, **({"previous_response_id": f"r{number}"} if number else {})),
                    answer=[say("assistant", f"re: {text}")],
                    principal=msgspec.structs.replace(ANN, user=user),
                    session=f"4:acme/s-{number}",
                    response_id=f"r{number + 1}",
                )
                await recorder.deliver(recorder.prepare(captured))
            await writer.flush()
        keys = {(event.tenant, event.thread) for event in await store.events(None, 100)}
        pages = [await store.messages(*key, PageQuery()) for key in keys]
    return [[msgspec.json.decode(message.content) for message in page] for page in pages]


# ---- remembering


def test_what_is_remembered_of_tool_calls_counts() -> None:
    recorder = TurnRecorder(Shelf())
    call = {**CALL, "function": {"name": "write", "arguments": "x" * 50_000}}
    recorder.prepare(turn(say("assistant", None, tool_calls=[call])))

    assert recorder._known.bytes > 50_000


def test_a_message_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def counted(role: str, content: bytes, metadata: Any) -> str:
        read.append(content)
        return digest_of(role, content, metadata)

    monkeypatch.setattr("fairlead.app.capturing.digest_of", counted)
    recorder = TurnRecorder(Shelf())
    said = [say("user", "a"), say("assistant", "b")]
    first = recorder.prepare(turn(said[0], answer=[said[1]]))
    second = recorder.prepare(turn(*said, say("user", "c")))

    assert read == [b'"a"', b'"b"', b'"c"']
    assert second.turn.prompt[0].id != first.turn.prompt[0].id
    assert second.turn.prompt[1].metadata == {}
    assert first.turn.answer[0].metadata["model"] == "m-1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (say("user", "a"), say("assistant", "a")),
        (say("user", "a"), say("user", "b")),
        (say("user", "a"), say("user", "a", name="b")),
        (say("user", "a", name="b"), say("user", "a", name="c")),
    ],
)
def test_different_messages_are_not_taken_for_each_other(
    one: CapturedMessage, other: CapturedMessage
) -> None:
    prompt = TurnRecorder(Shelf()).prepare(turn(one, other)).turn.prompt

    assert prompt[0].digest != prompt[1].digest


# ---- delivering


async def test_a_record_waits_for_room() -> None:
    shelf, clock = Shelf(room=0), ManualClock()
    recorder = TurnRecorder(shelf, clock=clock)
    waiting = asyncio.ensure_future(recorder.deliver(recorder.prepare(turn())))
    await turns()
    assert not waiting.done()
    shelf.left = 1
    await clock.advance(RETRY)
    await waiting

    assert len(shelf.operations) == 1
    assert shelf.asked == 1


async def test_a_closed_writer_is_said() -> None:
    async with MemoryThreadStore("local") as store:
        writer = BatchedThreadWriter(store)
        async with writer:
            pass
        recorder = TurnRecorder(writer)
        with pytest.raises(ClosedError):
            await recorder.deliver(recorder.prepare(turn()))


async def test_turns_of_a_session_make_one_thread() -> None:
    said = [say("user", "Fix the bug"), say("assistant", "Done."), say("user", "Thanks")]
    async with MemoryThreadStore("local") as store:
        options = WriterOptions(flush_interval=0)
        async with BatchedThreadWriter(store, options=options) as writer:
            recorder = TurnRecorder(writer)
            for count in (1, 3):
                answer = say("assistant", "Done." if count == 1 else "Bye.")
                captured = turn(*said[:count], answer=[answer], system=[say("system", "rules")])
                await recorder.deliver(recorder.prepare(captured))
            await writer.flush()
        (key,) = [(event.tenant, event.thread) for event in await store.events(None, 1)]
        messages = await store.messages(*key, PageQuery())
        head = await store.head(*key)

    found = [msgspec.json.decode(message.content) for message in messages]
    assert found == ["rules", "Fix the bug", "Done.", "Thanks", "Bye."]
    assert head is not None
    assert (head.title, head.branches, head.user_id) == ("Fix the bug", 0, "ann")

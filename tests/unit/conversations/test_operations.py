from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.operations import Known, decide, stamp
from fairlead.conversations.records import (
    Branched,
    Created,
    Deleted,
    Edited,
    Head,
    Operation,
    Removed,
    Said,
    Transcript,
    Updated,
    Viewer,
)
from fairlead.errors import ConflictError, ForbiddenError, NotFoundError, RequestError
from support.threads import START, Desk, answered, new_id, said, turn

DESK = Desk()
THERE = Known(message=True)


def head(**fields: Any) -> Head:
    values = {"id": "thread", "tenant": "team", "user_id": "ann", "version": 3, **fields}
    return Head(**values)


def test_a_thread_begins_with_its_owner_and_its_messages() -> None:
    operation = DESK.create("one", "two", title="title")
    first, *rest = decide(operation, None, Known())
    assert (first.id, first.change) == (operation.id, Created("ann", "title", "blue"))
    assert [draft.id for draft in rest] == [message.id for message in operation.messages]
    assert [draft.content for draft in rest] == [b'"one"', b'"two"']
    assert all(isinstance(draft.change, Said) for draft in rest)


def test_what_the_operator_begins_belongs_to_nobody() -> None:
    (created,) = decide(Desk("team", None).create(), None, Known())
    assert created.change == Created("", "a title", "blue")


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        (DESK.append("thread", "x"), Said("user", START, digest=said("x").digest)),
        (DESK.edit("thread", "m", "x"), Edited("m", digest=said("x").digest)),
        (DESK.remove("thread", "m"), Removed("m")),
        (DESK.update("thread", title="x"), Updated("x")),
        (DESK.update("thread", shared=True), Updated(None, is_shared=True)),
        (DESK.delete("thread"), Deleted()),
    ],
)
def test_each_operation_is_an_event(operation: Operation, change: Any) -> None:
    (draft,) = decide(operation, head(), THERE)
    assert (draft.id, draft.change) == (operation.id, change)


@pytest.mark.parametrize(
    "operation",
    [
        DESK.append("thread", "x"),
        DESK.edit("thread", "m", "x"),
        DESK.remove("thread", "m"),
        DESK.update("thread", title="x"),
        DESK.delete("thread"),
    ],
)
@pytest.mark.parametrize(
    ("viewer", "thread", "refused"),
    [
        (Viewer("team", "ann"), None, NotFoundError),
        (Viewer("team", "ann"), head(deleted=True), NotFoundError),
        (Viewer("team", "bob"), head(), NotFoundError),
        (Viewer("other", "ann"), head(is_shared=True), NotFoundError),
        (Viewer("other"), head(), NotFoundError),
        (Viewer("team", "bob"), head(is_shared=True), ForbiddenError),
    ],
)
def test_who_may_not_is_refused(
    operation: Operation, viewer: Viewer, thread: Head | None, refused: type[RequestError]
) -> None:
    with pytest.raises(refused):
        decide(msgspec.structs.replace(operation, viewer=viewer), thread, THERE)


def test_another_version_than_expected_is_a_conflict() -> None:
    for operation in (
        DESK.edit("thread", "m", "x", version=2),
        DESK.remove("thread", "m", version=4),
        DESK.update("thread", title="x", version=2),
        DESK.delete("thread", version=0),
    ):
        with pytest.raises(ConflictError) as caught:
            decide(operation, head(), THERE)
        assert (caught.value.current, caught.value.status) == (3, 412)


def test_a_message_that_is_not_there_is_not_found() -> None:
    for operation in (DESK.edit("thread", "m", "x"), DESK.remove("thread", "m")):
        with pytest.raises(NotFoundError, match="message 'm'"):
            decide(operation, head(), Known())


def test_what_changes_nothing_is_no_event() -> None:
    assert decide(DESK.update("thread", title="t", shared=False), head(title="t"), THERE) == []
    assert decide(DESK.update("thread"), head(), THERE) == []


def test_a_thread_that_is_there_is_not_begun() -> None:
    for there in (head(), head(deleted=True), head(user_id="bob")):
        with pytest.raises(RequestError) as caught:
            decide(DESK.create(), there, Known())
        assert caught.value.status == 409


def test_something_else_is_no_operation() -> None:
    other = Operation(id=new_id(), thread="thread", viewer=DESK.viewer, time=START)
    with pytest.raises(TypeError):
        decide(other, head(), Known())


# ---- captured turns


def test_the_first_turn_begins_the_thread() -> None:
    operation = DESK.record(turn([said("hello")], answered("hi"), system=[said("obey")]))
    first, *rest = decide(operation, None, Known())
    assert first.id == operation.id
    assert first.change == Created("ann", "captured", "blue", "session")
    assert [draft.text for draft in rest] == ["obey", "hello", "hi"]


def test_a_later_turn_is_known_by_its_first_event() -> None:
    prompt, answer = said("hello"), answered("hi")
    transcript = Transcript(((1, 0, prompt.digest, "e1"), (2, 0, answer.digest, "e2")), ())
    known = Known(transcript=transcript)
    there = head(session="session", last_sequence=2, title="given")
    on = DESK.record(turn([prompt, answer, said("on")], answered("end")))
    first, second = decide(on, there, known)
    assert (first.id, second.id) == (on.id, on.turn.answer[0].id)
    other = DESK.record(turn([prompt], answered("other")))
    branched, answer_draft = decide(other, there, known)
    assert (branched.id, branched.change) == (other.id, Branched(1, ((1, 1),)))
    assert answer_draft.id == other.turn.answer[0].id
    assert decide(DESK.record(turn([prompt], answer)), there, known) == []


def test_a_thread_that_began_without_a_title_gets_that_of_a_later_turn() -> None:
    there = head(session="session", last_sequence=2)
    operation = DESK.record(turn([said("hello")], answered("hi")))
    first, *rest = decide(operation, there, Known())
    assert (first.id, first.change) == (operation.id, Updated(title="captured"))
    assert [draft.text for draft in rest] == ["hello", "hi"]


def test_a_repeated_content_is_not_in_the_event() -> None:
    long = said("long " * 100)
    known = Known(transcript=Transcript(((1, 0, long.digest, "e1"), (2, 0, "x", "e2")), ()))
    operation = DESK.record(turn([long, said("new"), long], answered("ok")))
    drafts = decide(operation, head(session="session", last_sequence=2), known)
    again = [draft for draft in drafts if draft.content is None and draft.text]
    assert [draft.change.same_as for draft in again if isinstance(draft.change, Said)] == ["e1"]


# ---- places in the log


@given(st.integers(0, 2**44), st.integers(0, 2**60), st.integers(0, 10**9))
def test_events_follow_what_the_thread_has_seen(time: int, hlc: int, last: int) -> None:
    operation = msgspec.structs.replace(DESK.create("a", "b", "c"), time=time)
    there = head(hlc=hlc)
    drafts = decide(operation, None, Known())
    events = stamp(drafts, operation, there, "here", last)
    assert [event.sequence for event in events] == list(range(last + 1, last + 5))
    assert events[0].hlc == max(time << 16, hlc + 1)
    assert all(one.order < other.order for one, other in pairwise(events))
    assert {(event.tenant, event.thread, event.origin) for event in events} == {
        ("team", "thread", "here")
    }


def test_the_time_of_an_event_is_when_it_happened() -> None:
    operation = DESK.create()
    (event,) = stamp(decide(operation, None, Known()), operation, None, "here", 0)
    assert event.time == operation.time
    assert event.thread == operation.thread

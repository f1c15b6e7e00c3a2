"""A batch goes over its threads in memory: what is left to write is the sum of it."""

from __future__ import annotations

import pytest

from fairlead.conversations.base import Outcome
from fairlead.conversations.batch import Batch, ThreadState
from fairlead.conversations.records import Head, Operation
from fairlead.errors import NotFoundError, RequestError
from support.threads import Desk, again, answered, said, taken, turn

THREAD = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def batch() -> Batch:
    return Batch("here")


def perform(batch: Batch, *operations: Operation) -> list[Outcome]:
    return batch.perform(operations)


def only(batch: Batch) -> ThreadState:
    (state,) = batch.changed()
    return state


def test_operations_on_a_thread_are_one_change_of_it(batch: Batch, desk: Desk) -> None:
    begin = desk.create("one", thread=THREAD)
    more = desk.append(THREAD, "two", "three")
    outcomes = perform(batch, begin, more, desk.edit(THREAD, more.messages[0].id, "zwei"))

    state = only(batch)
    assert [taken(outcome).head.version for outcome in outcomes] == [2, 4, 5]
    assert [stored.event.sequence for stored in state.events] == [1, 2, 3, 4, 5]
    assert state.is_new
    assert len(state.added) == 3
    # The edit is part of the row that is inserted.
    assert state.changed == set()
    assert state.texts[more.messages[0].id] == "zwei"
    assert state.head.bytes == sum(stored.event.size for stored in state.events)


def test_what_comes_and_goes_within_a_batch_leaves_no_row(batch: Batch, desk: Desk) -> None:
    begin = desk.create("one", thread=THREAD)
    perform(batch, begin, desk.remove(THREAD, begin.messages[0].id))

    state = only(batch)
    assert (state.added, state.dropped, state.texts) == (set(), [], {})
    assert len(state.events) == 3


def test_stored_messages_are_changed_and_dropped_where_they_are(batch: Batch, desk: Desk) -> None:
    first = Batch("here")
    begin = desk.create("one", "two", thread=THREAD)
    perform(first, begin)
    batch.load([only(first).head])
    for row in only(first).rows.values():
        batch.threads["team", THREAD].hold(row)
    one, two = (message.id for message in begin.messages)
    perform(batch, desk.edit(THREAD, one, "eins"), desk.remove(THREAD, two))

    state = only(batch)
    assert (state.changed, state.dropped, state.added) == ({one}, [2], set())
    assert state.texts == {one: "eins"}
    assert not state.is_new


def test_a_refused_operation_changes_nothing_and_stops_nobody(batch: Batch, desk: Desk) -> None:
    stranger = Desk("another team")
    outcomes = perform(
        batch,
        desk.append(THREAD, "too early"),
        desk.create("one", thread=THREAD),
        stranger.append(THREAD, "not theirs"),
        desk.create(thread=THREAD),
        desk.append(THREAD, "two"),
    )
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, RequestError)] == [
        NotFoundError,
        NotFoundError,
        RequestError,
    ]
    assert taken(outcomes[4]).head.version == 3


def test_outcomes_keep_the_thread_as_it_was_then(batch: Batch, desk: Desk) -> None:
    first, second = perform(batch, desk.create(thread=THREAD), desk.append(THREAD, "more"))
    assert taken(first).head.message_count == 0
    assert taken(second).head.message_count == 1


def test_turns_of_a_new_session_share_its_thread(batch: Batch, desk: Desk) -> None:
    question, answer = said("what?"), answered("that")
    first = desk.record(turn([question], answer))
    second = desk.record(turn([again(question), again(answer), said("why?")], answered("so")))
    outcomes = perform(batch, first, second)

    assert {taken(outcome).head.id for outcome in outcomes} == {first.thread}
    assert len(only(batch).added) == 4
    assert only(batch).begun_session == "session"


def test_a_repeated_content_points_to_the_first(batch: Batch, desk: Desk) -> None:
    long = said("a long question " * 50)
    other = [said("something before"), again(long)]
    perform(batch, desk.record(turn([long])), desk.record(turn(other)))

    rows = list(only(batch).rows.values())
    assert [row.content_event == long.id for row in rows].count(True) >= 1
    assert sum(stored.content is not None for stored in only(batch).events) == 2


def test_a_deleted_thread_gives_its_session_to_the_next(batch: Batch, desk: Desk) -> None:
    first = desk.record(turn([said("one")]))
    second = desk.record(turn([said("two")]))
    perform(batch, first, desk.delete(first.thread), second)

    deleted, begun = batch.threads["team", first.thread], batch.threads["team", second.thread]
    assert deleted.is_cleared
    assert (deleted.rows, deleted.added, deleted.texts) == ({}, set(), {})
    assert (deleted.begun_session, begun.begun_session) == (None, "session")


def test_a_turn_does_not_go_into_a_thread_of_something_else(batch: Batch, desk: Desk) -> None:
    _, outcome = perform(
        batch, desk.create(thread=THREAD), desk.record(turn([said("one")]), thread=THREAD)
    )
    assert isinstance(outcome, RequestError)
    assert outcome.status == 409


def test_what_was_applied_before_is_answered_from_what_is_stored(batch: Batch, desk: Desk) -> None:
    batch.load([Head(THREAD, "team", "ann", version=4)])
    operation = desk.append(THREAD, "again")
    batch.repeated = {operation.id: (("team", THREAD), ((operation.id, 3),))}
    (outcome,) = perform(batch, operation)

    written = taken(outcome)
    assert written.repeated
    assert (written.head.version, written.messages) == (4, ((operation.id, 3),))
    assert batch.changed() == []


def test_threads_are_written_in_one_order(batch: Batch, desk: Desk) -> None:
    records = [desk.record(turn([said("x")], session=name)) for name in ("b", "c", "a")]
    perform(batch, *records, desk.create())
    assert [state.head.session for state in batch.changed()] == [None, "a", "b", "c"]

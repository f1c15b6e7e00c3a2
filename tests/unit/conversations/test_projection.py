from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.projection import fold
from fairlead.conversations.records import (
    MAX_PARTICIPANTS,
    PREVIEW_LENGTH,
    Branched,
    BranchRow,
    Change,
    Created,
    Deleted,
    Edited,
    Removed,
    Said,
    ThreadEvent,
    Updated,
)
from support.threads import START


def event(number: int, change: Change, content: Any = None, origin: str = "here") -> ThreadEvent:
    return ThreadEvent(
        tenant="team",
        thread="thread",
        origin=origin,
        sequence=number,
        id=f"e{number}",
        hlc=(START + number) << 16,
        change=change,
        content=None if content is None else msgspec.json.encode(content),
        size=10,
    )


def log(*changes: tuple[Change, Any] | Change) -> list[ThreadEvent]:
    pairs = [change if isinstance(change, tuple) else (change, None) for change in changes]
    return [event(number, *pair) for number, pair in enumerate(pairs, 1)]


BEGIN = Created("ann", "title", "blue", "session")
SAY = Said("user", 7)


def test_a_log_is_summed_up_in_a_head() -> None:
    model = Said("assistant", 8, {"model": "large"})
    events = log(BEGIN, (SAY, "hello"), (model, "hi"), Updated("new", is_shared=True), (model, "x"))
    head = fold("team", "thread", events).head
    assert (head.user_id, head.team_id, head.session, head.title) == (
        "ann",
        "blue",
        "session",
        "new",
    )
    assert (head.created, head.last_activity) == (START + 1, START + 5)
    assert (head.version, head.bytes, head.hlc) == (5, 50, events[-1].hlc)
    assert (head.message_count, head.last_sequence, head.last_message) == (3, 3, "x")
    assert (head.is_shared, head.participants) == (True, ("ann", "large"))


def test_rows_point_to_the_events_that_hold_what_is_said() -> None:
    same = Said("user", 9, digest="d", same_as="e2")
    events = log(BEGIN, (SAY, "one"), same, (Edited("e2"), "uno"), Said("user", 9, same_as="e4"))
    projection = fold("team", "thread", events)
    rows = list(projection.rows.values())
    assert [(row.id, row.sequence, row.event, row.content_event) for row in rows] == [
        ("e2", 1, "e4", "e4"),
        ("e3", 2, "e3", "e2"),
        ("e5", 3, "e5", "e4"),
    ]
    assert projection.texts == {"e2": "uno", "e3": "one", "e5": "uno"}


def test_what_refers_to_a_removed_message_still_has_its_content() -> None:
    events = log(BEGIN, (SAY, "one"), Removed("e2"), Said("user", 9, same_as="e2"))
    projection = fold("team", "thread", events)
    (row,) = projection.rows.values()
    assert (row.sequence, row.content_event, projection.texts) == (2, "e2", {"e4": "one"})


def test_events_about_what_was_removed_elsewhere_change_nothing() -> None:
    events = log(BEGIN, (SAY, "one"), Removed("e2"), (Edited("e2"), "late"), Removed("e2"))
    projection = fold("team", "thread", events)
    assert projection.rows == {}
    assert (projection.head.message_count, projection.head.version) == (0, 5)
    assert projection.head.hlc == events[-1].hlc


def test_nothing_comes_after_a_deletion() -> None:
    events = log(BEGIN, (SAY, "one"), Branched(1), Deleted(), (SAY, "late"), Updated("late"))
    projection = fold("team", "thread", events)
    assert (projection.rows, projection.branches, projection.texts) == ({}, [], {})
    head = projection.head
    assert (head.deleted, head.title, head.last_message, head.session) == (True, "", "", None)
    assert (head.version, head.bytes) == (6, 60)


def test_branches_are_kept_with_what_they_begin_with() -> None:
    events = log(BEGIN, (SAY, "one"), Branched(1, ((1, 1),)), (Said("user", 7, branch=1), "two"))
    projection = fold("team", "thread", events)
    assert projection.branches == [BranchRow(1, ((1, 1),))]
    assert (projection.head.branches, projection.head.branch) == (1, 1)


def test_instructions_do_not_change_the_branch_that_was_added_to() -> None:
    system = Said("system", 7, branch=-1)
    events = log(BEGIN, Branched(1), (Said("user", 7, branch=1), "x"), (system, "obey"))
    assert fold("team", "thread", events).head.branch == 1


def test_the_last_message_is_a_preview() -> None:
    events = log(BEGIN, (SAY, "x" * 1_000))
    assert fold("team", "thread", events).head.last_message == "x" * PREVIEW_LENGTH
    edited = [*events, event(3, Edited("e2"), "short")]
    assert fold("team", "thread", edited).head.last_message == "short"
    removed = [*edited, event(4, Removed("e2"))]
    assert fold("team", "thread", removed).head.last_message == ""


def test_participants_are_bounded_and_each_named_once() -> None:
    said = [(Said("assistant", 7, {"model": f"m{number % 50}"}), "x") for number in range(100)]
    head = fold("team", "thread", log(BEGIN, *said, (Said("assistant", 7, {"model": 3}), "x"))).head
    assert head.participants == ("ann", *(f"m{number}" for number in range(MAX_PARTICIPANTS - 1)))


@given(st.permutations(range(8)))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    changes = [BEGIN, *((SAY, f"{number}") for number in range(5)), Removed("e3"), Updated("t")]
    events = [
        msgspec.structs.replace(one, origin=f"r{one.sequence % 3}", sequence=one.sequence)
        for one in log(*changes)
    ]
    arrived = sorted((events[place] for place in order), key=lambda one: one.order)
    assert fold("team", "thread", arrived) == fold("team", "thread", events)

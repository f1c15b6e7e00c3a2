"""Captured turns: what is new is added, another way becomes a branch."""

from __future__ import annotations

import pytest

from fairlead.conversations.records import (
    SYSTEM_BRANCH,
    PageQuery,
    SearchQuery,
    Written,
)
from support.threads import (
    Desk,
    Store,
    again,
    answered,
    replayed,
    said,
    texts,
    turn,
    whole,
    wrote,
)


async def test_a_growing_prompt_adds_what_is_new(store: Store, ann: Desk) -> None:
    prompt = [said("hello")]
    written = await wrote(store, ann.record(turn(prompt, answered("hi"), system=[said("obey")])))
    thread = written.head.id
    assert (written.head.title, written.head.user_id) == ("captured", "ann")
    assert written.head.session == "session"
    prompt += [again(answered("hi", "other")), said("more")]
    operation = ann.record(turn(map(again, prompt), answered("sure"), system=[said("obey")]))
    written = await wrote(store, operation)
    assert written.head.id == thread
    assert [sequence for _, sequence in written.messages] == [4, 5]
    found = await whole(store, ann.viewer.tenant, thread)
    assert texts(found) == ["obey", "hello", "hi", "more", "sure"]
    assert [message.branch for message in found] == [SYSTEM_BRANCH, 0, 0, 0, 0]
    assert written.head.participants == ("ann", "large")
    await replayed(store, ann.viewer.tenant, thread)


async def test_a_turn_that_is_repeated_adds_nothing(store: Store, ann: Desk) -> None:
    exchange = turn([said("hello")], answered("hi"))
    first = await wrote(store, ann.record(exchange))
    second = await wrote(store, ann.record(exchange))
    assert second.head == first.head
    assert second.messages == ()


async def test_a_turn_that_is_tried_again_counts_once(store: Store, ann: Desk) -> None:
    operation = ann.record(turn([said("hello")], answered("hi")))
    first = await wrote(store, operation)
    longer = ann.record(turn([said("hello"), answered("hi"), said("more")], answered("sure")))
    added = await wrote(store, longer)
    outcomes = await store.apply([operation, longer], retry=True)
    assert [outcome.repeated for outcome in outcomes if isinstance(outcome, Written)] == [
        True,
        True,
    ]
    for outcome, before in zip(outcomes, (first, added), strict=True):
        assert isinstance(outcome, Written)
        assert outcome.head.version == added.head.version
        assert outcome.messages == before.messages


async def test_two_turns_of_a_new_session_in_one_batch_are_one_thread(
    store: Store, ann: Desk
) -> None:
    first = ann.record(turn([said("hello")], answered("hi")))
    second = ann.record(turn([said("hello"), answered("hi"), said("more")], answered("sure")))
    one, two = await store.apply([first, second])
    assert isinstance(one, Written)
    assert isinstance(two, Written)
    assert one.head.id == two.head.id == first.thread
    assert texts(await whole(store, ann.viewer.tenant, first.thread)) == [
        "hello", "hi", "more", "sure"
    ]  # fmt: skip
    await replayed(store, ann.viewer.tenant, first.thread)


async def test_sessions_are_of_their_tenant(store: Store, ann: Desk) -> None:
    other = Desk(f"other-{ann.viewer.tenant}", "ann")
    first = await wrote(store, ann.record(turn([said("hello")], answered("hi"))))
    second = await wrote(store, other.record(turn([said("hello")], answered("hi"))))
    assert first.head.id != second.head.id
    third = await wrote(store, ann.record(turn([said("hello")], answered("hi"), session="other")))
    assert third.head.id not in {first.head.id, second.head.id}


async def test_a_session_whose_thread_was_deleted_begins_anew(store: Store, ann: Desk) -> None:
    exchange = turn([said("hello")], answered("hi"))
    first = (await wrote(store, ann.record(exchange))).head.id
    outcomes = await store.apply(
        [ann.delete(first), ann.record(turn([said("hello")], answered("hi")))]
    )
    second = outcomes[1]
    assert isinstance(second, Written)
    assert second.head.id != first
    assert texts(await whole(store, ann.viewer.tenant, second.head.id)) == ["hello", "hi"]


async def test_another_answer_to_the_same_prompt_is_a_branch(store: Store, ann: Desk) -> None:
    prompt = [said("hello"), answered("hi"), said("more")]
    await wrote(store, ann.record(turn(prompt, answered("first"))))
    written = await wrote(store, ann.record(turn(prompt, answered("second"))))
    head = written.head
    assert (head.branches, head.branch, head.message_count) == (1, 1, 5)
    tenant, thread = ann.viewer.tenant, head.id
    assert texts(await whole(store, tenant, thread)) == ["hello", "hi", "more", "first", "second"]
    assert texts(await whole(store, tenant, thread, branch=0)) == ["hello", "hi", "more", "first"]
    assert texts(await whole(store, tenant, thread, branch=1)) == ["hello", "hi", "more", "second"]
    prompt += [answered("second"), said("on")]
    written = await wrote(store, ann.record(turn(prompt, answered("end"))))
    assert len(written.messages) == 2
    assert texts(await whole(store, tenant, thread, branch=1)) == [
        "hello", "hi", "more", "second", "on", "end"
    ]  # fmt: skip
    await replayed(store, tenant, thread)


async def test_a_branch_is_read_in_its_own_order(store: Store, ann: Desk) -> None:
    files = said("the files " * 40)
    prompt = [said("context 1"), files, said("hello"), answered("hi"), said("more")]
    await wrote(store, ann.record(turn(prompt, answered("sure"))))
    changed = [said("context 2"), *prompt[1:], answered("sure"), said("last")]
    head = (await wrote(store, ann.record(turn(changed, answered("end"))))).head
    tenant, thread = ann.viewer.tenant, head.id
    assert head.message_count == 9
    expected = ["context 2", "the files " * 40, "hello", "hi", "more", "sure", "last", "end"]
    assert texts(await whole(store, tenant, thread, branch=1)) == expected
    for limit in (1, 3):
        assert texts(await whole(store, tenant, thread, branch=1, limit=limit)) == expected
    latest = await store.messages(tenant, thread, PageQuery(limit=3, branch=1))
    assert texts(latest) == expected[-3:]
    before = PageQuery(limit=3, branch=1, before=latest[0].sequence)
    assert texts(await store.messages(tenant, thread, before)) == expected[-6:-3]
    assert await store.messages(tenant, thread, PageQuery(branch=2)) == []
    await replayed(store, tenant, thread)


async def test_a_removed_message_is_in_no_branch(store: Store, ann: Desk) -> None:
    prompt = [said("hello"), answered("hi"), said("more")]
    await wrote(store, ann.record(turn(prompt, answered("first"))))
    head = (await wrote(store, ann.record(turn(prompt, answered("second"))))).head
    gone = (await whole(store, head.tenant, head.id))[1]
    await wrote(store, ann.remove(head.id, gone.id))
    assert texts(await whole(store, head.tenant, head.id, branch=1)) == ["hello", "more", "second"]
    after = PageQuery(branch=1, after=gone.sequence)
    assert texts(await store.messages(head.tenant, head.id, after)) == ["more", "second"]


async def test_a_long_message_that_is_said_again_is_kept_once(store: Store, ann: Desk) -> None:
    long = "all of the file " * 50
    exchange = turn([said(long), answered("ok"), said(long)], answered("again"))
    await wrote(store, ann.record(turn([said(long)], answered("ok"))))
    head = (await wrote(store, ann.record(exchange))).head
    tenant, thread = head.tenant, head.id
    assert texts(await whole(store, tenant, thread)) == [long, "ok", long, "again"]
    events = await store.thread_events(tenant, thread)
    assert sum(len(long) < len(event.content or b"") for event in events) == 1
    await replayed(store, tenant, thread)
    first = (await whole(store, tenant, thread))[0]
    await wrote(store, ann.edit(thread, first.id, "changed"))
    assert texts(await whole(store, tenant, thread)) == ["changed", "ok", long, "again"]
    await wrote(store, ann.remove(thread, first.id))
    assert texts(await whole(store, tenant, thread)) == ["ok", long, "again"]
    (hit,) = await store.search(SearchQuery(ann.viewer, "file"))
    assert [match.sequence for match in hit.matches] == [3]
    await replayed(store, tenant, thread)


async def test_an_answer_that_broke_off_is_followed_by_the_whole_one(
    store: Store, ann: Desk
) -> None:
    prompt = [said("hello")]
    partial = said("I will", "assistant", metadata={"partial": True})
    await wrote(store, ann.record(turn(prompt, partial)))
    head = (await wrote(store, ann.record(turn(prompt, answered("I will do it"))))).head
    found = await whole(store, head.tenant, head.id, branch=head.branch)
    assert texts(found) == ["hello", "I will do it"]
    everything = await whole(store, head.tenant, head.id)
    assert everything[1].metadata == {"partial": True}


async def test_the_thread_of_a_session_can_be_written_to_as_well(store: Store, ann: Desk) -> None:
    head = (await wrote(store, ann.record(turn([said("hello")], answered("hi"))))).head
    await wrote(store, ann.append(head.id, "a note"))
    await wrote(store, ann.update(head.id, title="mine"))
    assert texts(await whole(store, head.tenant, head.id)) == ["hello", "hi", "a note"]
    await replayed(store, head.tenant, head.id)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("word " * 100, "\n  " + "word " * 100),
        (
            [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "word " * 100}],
            [{"type": "text", "text": "word " * 100}],
        ),
    ],
)
async def test_what_is_said_again_a_little_differently_is_what_its_log_says(
    store: Store, ann: Desk, first: object, second: object
) -> None:
    question = said("a question")
    await wrote(store, ann.record(turn([question], said(first, "assistant"))))
    written = await wrote(
        store, ann.record(turn([again(question), said("x")], said(second, "assistant")))
    )
    await replayed(store, ann.viewer.tenant, written.head.id)

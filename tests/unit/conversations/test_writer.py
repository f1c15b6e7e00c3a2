"""`BatchedThreadWriter`: when it writes, what it does when that fails, and what it never does."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from fairlead.conversations.backlog import OVERHEAD
from fairlead.conversations.priority import priority
from fairlead.conversations.records import Append, Update, Viewer, Written
from fairlead.errors import (
    CapacityError,
    ClosedError,
    NotFoundError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from unit.conversations.flakystore import (
    ANN,
    START,
    Fault,
    append,
    create,
    new_id,
    record,
    scene,
    settle,
)


def away() -> StorageUnavailableError:
    return StorageUnavailableError("the database is away")


# ---- when it writes


async def test_writers_share_a_transaction() -> None:
    async with scene() as s:
        done = await asyncio.gather(*(s.writer.write(create()) for _ in range(40)))

        assert all(isinstance(written, Written) for written in done)
        assert s.store.sizes == [40]


async def test_what_comes_during_a_transaction_goes_along_in_the_next() -> None:
    async with scene() as s:
        s.store.gate.clear()
        first = s.start(create())
        await settle()
        s.writer.enqueue(create())
        others = [s.start(create()) for _ in range(3)]
        await settle()
        s.store.gate.set()
        await asyncio.gather(first, *others)

        assert s.store.sizes == [1, 4]


async def test_writers_in_lock_step_go_on_sharing() -> None:
    async with scene() as s:

        async def one() -> None:
            for _ in range(5):
                await s.writer.write(create())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(one())

        assert s.store.sizes == [10] * 5


async def test_who_was_answered_just_now_shares_with_who_came_meanwhile() -> None:
    async with scene() as s:

        async def twice() -> None:
            await s.writer.write(create())
            await s.writer.write(create())

        s.store.gate.clear()
        tasks = [asyncio.create_task(twice()) for _ in range(5)]
        await settle()
        straggler = s.start(create())
        await settle()
        s.store.gate.set()
        await asyncio.gather(straggler, *tasks)

        assert s.store.sizes == [5, 6]


async def test_a_batch_has_a_size() -> None:
    async with scene(batch_size=8) as s:
        await asyncio.gather(*(s.writer.write(create()) for _ in range(20)))

        assert s.store.sizes == [8, 8, 4]


async def test_what_is_enqueued_waits_for_the_timer() -> None:
    async with scene() as s:
        s.writer.enqueue(create())
        await s.clock.advance(0.5)
        s.writer.enqueue(create())
        await s.clock.advance(0.4)
        assert s.store.sizes == []
        await s.clock.advance(0.1)

        assert s.store.sizes == [2]


async def test_the_timer_goes_for_each_first() -> None:
    async with scene() as s:
        for _ in range(3):
            s.writer.enqueue(create())
            await s.clock.advance(0.6)
            await s.clock.advance(0.4)

        assert s.store.sizes == [1, 1, 1]


async def test_a_full_batch_does_not_wait() -> None:
    async with scene(batch_size=5) as s:
        for _ in range(7):
            s.writer.enqueue(create())
        await settle()
        assert s.store.sizes == [5]
        await s.clock.advance(1)

        assert s.store.sizes == [5, 2]


@pytest.mark.parametrize(
    ("active", "shared", "messages", "points"),
    [
        (False, False, 0, 0),
        (False, False, 9, 0),
        (False, False, 19, 1),
        (False, True, 50, 10),
        (False, True, 5000, 10),
        (True, False, 49, 14),
        (True, False, 50, 15),
        (True, True, 0, 15),
        (True, True, 900, 20),
    ],
)
def test_the_points_of_a_thread(active: bool, shared: bool, messages: int, points: int) -> None:
    assert priority(active=active, shared=shared, messages=messages) == points


async def test_an_active_shared_thread_is_written_at_once() -> None:
    async with scene() as s:
        thread = (await s.writer.write(create())).head.id
        share = Update(id=new_id(), thread=thread, viewer=ANN, time=START, is_shared=True)
        await s.writer.write(share)
        s.writer.enqueue(append(thread, time=START + 59_999))
        await settle()
        assert s.store.sizes == [1, 1, 1]

        s.writer.enqueue(append(thread, time=START + 59_999 + 60_000))
        await settle()
        assert s.store.sizes == [1, 1, 1]


async def test_a_long_active_session_is_written_at_once() -> None:
    async with scene() as s:
        s.writer.enqueue(record("session", *map(str, range(60))))
        await s.clock.advance(1)
        s.writer.enqueue(record("another", "one"))
        await settle()
        assert s.store.sizes == [1]
        s.writer.enqueue(record("session", *map(str, range(61))))
        await settle()

        assert s.store.sizes == [1, 2]


async def test_writes_to_one_thread_keep_their_order_and_are_counted_as_joined() -> None:
    async with scene() as s:
        one, two = await s.thread(), await s.thread()
        writes = [append(thread) for _ in range(5) for thread in (one, two)]
        await asyncio.gather(*map(s.writer.write, writes))

        assert s.store.sizes == [10]
        assert await s.store.said(one) == [write.id for write in writes[::2]]
        statistics = s.writer.statistics()
        assert (statistics.operations, statistics.batches, statistics.joined) == (10, 1, 8)
        assert statistics.messages == 10


# ---- flush


async def test_flush_writes_at_once() -> None:
    async with scene() as s:
        s.writer.enqueue(create())
        await s.writer.flush()

        assert s.store.sizes == [1]
        await s.writer.flush()
        assert s.store.sizes == [1]


async def test_flush_waits_for_what_is_being_written_but_not_for_what_comes_later() -> None:
    async with scene() as s:
        s.store.gate.clear()
        first = s.start(create())
        await settle()
        flush = asyncio.create_task(s.writer.flush())
        await settle()
        s.writer.enqueue(create())
        assert not flush.done()
        s.store.gate.set()
        await first
        await settle()

        assert flush.done()
        assert s.store.sizes == [1]
        await s.clock.advance(1)
        assert s.store.sizes == [1, 1]


async def test_flush_outlasts_failures() -> None:
    async with scene() as s:
        s.store.faults.extend([Fault(away()), Fault(away(), committed=True)])
        s.writer.enqueue(create())
        flush = asyncio.create_task(s.writer.flush())
        await settle()
        assert not flush.done()
        await s.clock.advance(5)

        assert flush.done()
        assert len(s.store.calls) == 3


async def test_a_cancelled_flush_asks_for_nothing_any_more() -> None:
    async with scene() as s:
        s.store.gate.clear()
        s.writer.enqueue(create())
        flush = asyncio.create_task(s.writer.flush())
        await settle()
        flush.cancel()
        await settle()
        s.store.gate.set()
        await settle()
        s.writer.enqueue(create())
        await settle()

        assert s.store.sizes == [1]


# ---- the store is away


async def test_a_failed_batch_comes_first_and_in_its_order() -> None:
    async with scene() as s:
        thread = await s.thread()
        writes = [append(thread) for _ in range(4)]
        s.store.faults.append(Fault(away()))
        tasks = [s.start(write) for write in writes[:2]]
        await settle()
        tasks += [s.start(write) for write in writes[2:]]
        await settle()
        assert len(s.store.calls) == 1
        assert not s.writer.statistics().available
        await s.clock.advance(0.05)
        await asyncio.gather(*tasks)

        ids = [write.id for write in writes]
        assert s.store.calls == [(ids[:2], False), (ids, True)]
        assert await s.store.said(thread) == ids
        assert s.writer.statistics().available


async def test_a_lost_answer_writes_nothing_twice() -> None:
    async with scene() as s:
        thread = await s.thread()
        write = append(thread, count=3)
        s.store.faults.append(Fault(away(), committed=True))
        task = s.start(write)
        await settle()
        await s.clock.advance(1)
        written = await task

        assert isinstance(written, Written)
        assert written.repeated
        assert len(written.messages) == 3
        assert await s.store.said(thread) == [one.id for one in write.messages]


async def test_pauses_grow_and_are_drawn_anew() -> None:
    async with scene() as s:
        s.store.always = away()
        s.writer.enqueue(create())
        await s.clock.advance(20)
        assert s.pauses[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
        assert set(s.pauses[7:]) == {2.0}
        s.store.always = None
        await s.clock.advance(2)
        count = len(s.pauses)
        s.store.faults.append(Fault(away()))
        s.writer.enqueue(create())
        await s.clock.advance(2)

        assert s.pauses[count:] == [0.05]


async def test_a_write_that_waits_too_long_is_told_and_taken_back() -> None:
    async with scene(write_timeout=3) as s:
        s.store.faults.append(Fault(away()))
        tried = s.start(create())
        await settle()
        s.store.always = away()
        untried = create()
        waiting = s.start(untried)
        await settle()
        s.store.gate.clear()
        running = s.start(create())
        await s.clock.advance(4)

        with pytest.raises(StorageUnavailableError, match="may have been stored"):
            await tried
        with pytest.raises(StorageUnavailableError, match="may have been stored"):
            await running
        with pytest.raises(StorageUnavailableError, match="may have been stored"):
            await waiting
        s.store.always = None
        s.store.gate.set()
        await s.clock.advance(5)
        assert s.writer.statistics().waiting == 0


async def test_a_write_whose_turn_never_came_is_surely_not_stored() -> None:
    async with scene(write_timeout=3, batch_size=1) as s:
        s.store.gate.clear()
        first = s.start(create())
        await settle()
        second = create()
        waiting = s.start(second)
        await s.clock.advance(3)

        with pytest.raises(StorageUnavailableError, match="it is not stored"):
            await waiting
        with pytest.raises(StorageUnavailableError, match="may have been stored"):
            await first
        s.store.gate.set()
        await settle()
        assert second.id not in s.store.acknowledged
        assert s.store.sizes == [1]
        assert s.writer.statistics().waiting == 0


async def test_a_store_that_was_closed_counts_as_away() -> None:
    async with scene() as s:
        s.store.faults.append(Fault(ClosedError("the store is closed")))
        task = s.start(create())
        await s.clock.advance(1)

        assert isinstance(await task, Written)
        assert s.writer.statistics().dead_letters == 0


# ---- the disk is full


async def test_a_full_disk_is_said_at_once_and_what_was_captured_is_kept() -> None:
    async with scene() as s:
        s.store.always = StorageFullError()
        captured = create()
        s.writer.enqueue(captured)
        tasks = [s.start(create()) for _ in range(3)]
        await settle()

        for task in tasks:
            with pytest.raises(StorageFullError):
                await task
        statistics = s.writer.statistics()
        assert (statistics.full, statistics.available) == (True, True)
        assert (statistics.waiting, statistics.withdrawn) == (1, 3)
        s.store.always = None
        await s.clock.advance(2)
        assert s.store.acknowledged == [captured.id]
        assert not s.writer.statistics().full


async def test_it_resumes_within_seconds() -> None:
    async with scene() as s:
        s.store.always = StorageFullError()
        s.writer.enqueue(create())
        await s.clock.advance(600)
        s.store.always = None
        await s.clock.advance(2)

        assert len(s.store.acknowledged) == 1


async def test_while_it_is_full_each_write_is_one_try() -> None:
    async with scene(batch_size=2) as s:
        s.store.always = StorageFullError()
        for _ in range(5):
            s.writer.enqueue(create())
        await s.clock.advance(60)
        tried = len(s.store.calls)
        with pytest.raises(StorageFullError):
            await s.writer.write(create())
        assert len(s.store.calls) == tried + 1
        s.store.always = None
        assert isinstance(await s.writer.write(create()), Written)

        assert s.writer.statistics().waiting == 0
        assert len(s.store.acknowledged) == 6


async def test_507_is_not_said_of_what_may_be_stored() -> None:
    async with scene() as s:
        s.store.faults.extend([Fault(away(), committed=True), Fault(StorageFullError())])
        write = create()
        task = s.start(write)
        await s.clock.advance(0.05)
        assert len(s.store.calls) == 2
        assert not task.done()
        await s.clock.advance(2)

        assert isinstance(await task, Written)


# ---- poison


@pytest.mark.parametrize("place", [0, 1, 3, 6])
async def test_what_cannot_be_written_is_put_aside_and_the_rest_is_written(place: int) -> None:
    async with scene() as s:
        thread = await s.thread()
        writes = [append(thread) for _ in range(7)]
        bad = writes[place]
        s.store.poison = {bad.id}
        tasks = [s.start(write) for write in writes]
        done = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(done[place], StorageError)
        assert not isinstance(done[place], StorageUnavailableError)
        good = [write.id for write in writes if write is not bad]
        assert await s.store.said(thread) == good
        (letter,) = s.store.inner.letters.values()
        assert (letter.id, letter.tenant) == (bad.id, "acme")
        payload = json.loads(letter.payload)
        assert payload["kind"] == "append"
        assert payload["operation"]["thread"] == thread
        assert "cannot be written" in letter.error
        assert s.writer.statistics().dead_letters == 1


async def test_a_fault_that_passes_makes_no_dead_letter() -> None:
    async with scene() as s:
        s.store.faults.append(Fault(StorageError("once")))
        assert isinstance(await s.writer.write(create()), Written)

        assert s.store.inner.letters == {}


async def test_a_letter_can_be_kept_whatever_is_wrong() -> None:
    async with scene() as s:
        viewer = Viewer("a\x00\ud800", "ann")
        write = Append(id="no id", thread="\ud800", viewer=viewer, time=START, messages=())
        s.store.poison = {"no id"}
        with pytest.raises(StorageError):
            await s.writer.write(write)

        (letter,) = s.store.inner.letters.values()
        assert uuid.UUID(letter.id).version == 7
        assert letter.tenant == "a\N{REPLACEMENT CHARACTER}?"
        assert json.loads(letter.payload)["operation"]["thread"] == "\ud800"


async def test_a_store_that_takes_no_letter_loses_nothing() -> None:
    async with scene() as s:
        s.store.always = s.store.burying = StorageError("input/output error")
        writes = [create() for _ in range(4)]
        for write in writes:
            s.writer.enqueue(write)
        await s.clock.advance(10)
        assert s.writer.statistics().waiting == 4
        assert not s.writer.statistics().available
        s.store.always = s.store.burying = None
        await s.clock.advance(2)

        assert s.store.acknowledged == [write.id for write in writes]


async def test_the_store_goes_away_in_the_middle_of_halving() -> None:
    async with scene() as s:
        thread = await s.thread()
        writes = [append(thread) for _ in range(8)]
        s.store.poison = {writes[2].id}
        whole, left, right = Fault(StorageError("x")), Fault(StorageError("y")), Fault(away())
        s.store.faults.extend([whole, left, right])
        tasks = [s.start(write) for write in writes]
        await settle()
        assert s.writer.statistics().waiting == 8
        await s.clock.advance(2)
        done = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(done[2], StorageError)
        assert await s.store.said(thread) == [w.id for w in writes if w is not writes[2]]


# ---- refused by the rules


async def test_a_refusal_reaches_its_writer_alone() -> None:
    async with scene() as s:
        bad, good = s.start(append(new_id())), s.start(create())
        with pytest.raises(NotFoundError):
            await bad

        assert isinstance(await good, Written)
        assert s.store.sizes == [2]
        assert s.writer.statistics().refused == 1


async def test_a_refusal_that_nobody_waits_for_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as s:
        thread = new_id()
        s.writer.enqueue(append(thread, "the secret content"))
        await s.writer.flush()

    (line,) = [one.getMessage() for one in caplog.records]
    assert thread in line
    assert "secret" not in line


# ---- room


async def test_enqueue_has_a_bound_and_room_waits_for_it() -> None:
    async with scene(max_waiting=3) as s:
        s.store.gate.clear()
        for _ in range(3):
            s.writer.enqueue(create())
        with pytest.raises(CapacityError):
            s.writer.enqueue(create())
        waiting = asyncio.create_task(s.writer.room())
        await s.clock.advance(1)
        assert not waiting.done()
        s.store.gate.set()
        await settle()

        assert waiting.done()
        await s.writer.room()
        s.writer.enqueue(create())
        assert s.writer.statistics().turned_away == 1


async def test_bytes_are_bounded_as_well() -> None:
    async with scene(max_bytes=6 * OVERHEAD) as s:
        s.store.gate.clear()
        large = "x" * 2 * OVERHEAD
        s.writer.enqueue(append(new_id(), large))
        with pytest.raises(CapacityError):
            s.writer.enqueue(append(new_id()))
        s.store.gate.set()
        await s.writer.flush()

        # More than all the room there is: taken when nothing else waits.
        s.writer.enqueue(append(new_id(), "x" * 100 * OVERHEAD))


async def test_write_waits_for_room_in_line() -> None:
    async with scene(max_waiting=3) as s:
        s.store.gate.clear()
        writes = [create() for _ in range(6)]
        tasks = [s.start(write) for write in writes]
        await settle()
        assert s.writer.statistics().in_line == 3
        with pytest.raises(CapacityError):
            s.writer.enqueue(create())
        s.store.gate.set()
        await asyncio.gather(*tasks)

        assert s.store.acknowledged == [write.id for write in writes]


async def test_what_is_small_does_not_overtake_what_waits_for_much_room() -> None:
    async with scene(max_bytes=10 * OVERHEAD) as s:
        s.store.gate.clear()
        writes = [append(new_id(), "x" * size * OVERHEAD) for size in (2, 3, 0)]
        tasks = [s.start(write) for write in writes]
        await settle()
        assert s.writer.statistics().in_line == 2
        with pytest.raises(CapacityError):
            s.writer.enqueue(create())
        s.store.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(one) for one in done} == {NotFoundError}
        tried = [name for ids, _ in s.store.calls for name in ids]
        assert tried == [write.id for write in writes]


async def test_the_wait_for_room_has_a_deadline() -> None:
    async with scene(max_waiting=1, write_timeout=5) as s:
        s.store.gate.clear()
        s.writer.enqueue(create())
        late = s.start(create())
        await s.clock.advance(5)
        with pytest.raises(CapacityError, match="5 s"):
            await late
        s.store.gate.set()


async def test_the_line_has_a_bound() -> None:
    async with scene(max_waiting=1) as s:
        s.store.gate.clear()
        tasks = [s.start(create()) for _ in range(2)]
        await settle()
        with pytest.raises(CapacityError):
            await s.writer.write(create())
        s.store.gate.set()
        await asyncio.gather(*tasks)


async def test_who_waits_for_room_is_told_of_a_full_disk() -> None:
    async with scene(max_waiting=1) as s:
        s.store.always = StorageFullError()
        s.writer.enqueue(create())
        await s.clock.advance(1)
        with pytest.raises(StorageFullError):
            await s.writer.write(create())

        assert s.writer.statistics().waiting == 1


# ---- cancellation


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_write_holds_nobody_up(turns: int) -> None:
    async with scene(max_waiting=2) as s:
        thread = await s.thread()
        before, cancelled, after = (append(thread) for _ in range(3))
        first, gone, last = map(s.start, (before, cancelled, after))
        for _ in range(turns):
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        await asyncio.gather(first, last)
        await s.writer.flush()

        said = await s.store.said(thread)
        assert [one for one in said if one != cancelled.id] == [before.id, after.id]
        if not gone.cancelled():
            assert cancelled.id in said
        assert s.writer.statistics().waiting == 0


async def test_one_that_is_cancelled_before_its_transaction_is_not_written() -> None:
    async with scene() as s:
        s.store.gate.clear()
        first = s.start(create())
        await settle()
        second = s.start(create())
        await settle()
        second.cancel()
        await settle()
        s.store.gate.set()
        await first
        await settle()

        assert s.store.sizes == [1]


async def test_one_that_is_cancelled_in_a_failing_transaction_is_not_tried_again() -> None:
    async with scene() as s:
        s.store.gate.clear()
        s.store.faults.append(Fault(away()))
        task = s.start(create())
        await settle()
        task.cancel()
        await settle()
        s.store.gate.set()
        await s.clock.advance(5)

        assert s.store.sizes == [1]
        assert s.writer.statistics().waiting == 0


# ---- closing


async def test_close_writes_everything() -> None:
    async with scene(batch_size=3) as s:
        writes = [create() for _ in range(10)]
        for write in writes:
            s.writer.enqueue(write)
        await s.writer.close()

        assert s.store.acknowledged == [write.id for write in writes]
        with pytest.raises(ClosedError):
            s.writer.enqueue(create())
        with pytest.raises(ClosedError):
            await s.writer.write(create())
        with pytest.raises(ClosedError):
            await s.writer.open()


async def test_close_serves_those_in_line_and_refuses_those_who_wait_for_room() -> None:
    async with scene(max_waiting=2) as s:
        s.store.gate.clear()
        tasks = [s.start(create()) for _ in range(3)]
        await settle()
        waiting = asyncio.create_task(s.writer.room())
        await settle()
        closing = asyncio.create_task(s.writer.close())
        await settle()
        s.store.gate.set()
        await asyncio.gather(closing, *tasks)

        assert len(s.store.acknowledged) == 3
        with pytest.raises(ClosedError):
            await waiting


async def test_close_tries_again_while_there_is_time() -> None:
    async with scene() as s:
        s.store.faults.extend([Fault(away())] * 3)
        s.writer.enqueue(create())
        closing = asyncio.create_task(s.writer.close())
        await s.clock.advance(5)
        await closing

        assert len(s.store.acknowledged) == 1
        assert s.writer.statistics().left == 0


async def test_what_close_cannot_write_is_counted_logged_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene(close_timeout=10) as s:
        s.store.gate.clear()
        tasks = [s.start(create())]
        await settle()
        s.writer.enqueue(create())
        tasks.append(s.start(create()))
        flush = asyncio.create_task(s.writer.flush())
        await settle()
        closing = asyncio.create_task(s.writer.close())
        await s.clock.advance(10)
        await closing

        with pytest.raises(StorageUnavailableError, match="may have been stored"):
            await tasks[0]
        with pytest.raises(StorageUnavailableError, match="it is not stored"):
            await tasks[1]
        with pytest.raises(StorageUnavailableError):
            await flush
        assert s.writer.statistics().left == 3
        assert [one.levelname for one in caplog.records] == ["ERROR"]


async def test_a_cancelled_close_leaves_no_task_behind() -> None:
    async with scene() as s:
        s.store.gate.clear()
        task = s.start(create())
        await settle()
        closing = asyncio.create_task(s.writer.close())
        await settle()
        closing.cancel()
        await asyncio.wait([closing])

        with pytest.raises(StorageUnavailableError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_statistics_say_how_long_the_oldest_waits() -> None:
    async with scene() as s:
        s.store.gate.clear()
        s.writer.enqueue(append(new_id(), "12345678"))
        await s.clock.advance(4)
        s.writer.enqueue(create())
        statistics = s.writer.statistics()

        assert statistics.oldest_age == 4
        assert statistics.waiting == 2
        assert statistics.waiting_bytes == 3 * OVERHEAD + len('"12345678"') + 8
        assert "1 queued, 1 running" in repr(s.writer)
        s.store.gate.set()


async def test_an_error_is_shown_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as s:
        s.store.burying = ValueError("cannot encode 'the secret'")
        s.store.always = ValueError("cannot encode 'the secret'")
        s.writer.enqueue(create())
        await s.clock.advance(2)
        assert s.writer.statistics().last_error == "ValueError"
        s.store.always = s.store.burying = None

    assert "secret" not in caplog.text

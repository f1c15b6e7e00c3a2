"""`BatchedThreadWriter` under any sequence of events: each acknowledged write is there, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairlead.conversations.backlog import Entry
from fairlead.conversations.records import Operation, Written
from fairlead.errors import (
    CapacityError,
    FairleadError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from unit.conversations.flakystore import Fault, append, scene, settle

picks = st.integers(0, 1000)
"""Chooses one of those there are."""
faults = st.sampled_from(
    [
        lambda: Fault(StorageUnavailableError("away")),
        lambda: Fault(StorageUnavailableError("away"), committed=True),
        lambda: Fault(StorageFullError()),
        lambda: Fault(StorageError("once")),
    ]
)


class WriterMachine(RuleBasedStateMachine):
    """Operations come in both ways, callers go away, the store fails in any way, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.order: dict[str, list[str]] = {}
        """Ids for each thread, as they were handed in."""
        self.operations: dict[str, Operation] = {}
        self.enqueued: list[str] = []
        self.tasks: dict[str, asyncio.Task[object]] = {}
        self.flushes: list[tuple[asyncio.Task[None], set[Entry]]] = []
        """With what had been accepted when they were asked for."""
        self.refused: set[str] = set()
        self.again: set[str] = set()
        """Those that were handed in more than once."""

    @initialize(size=st.integers(1, 4), room=st.integers(1, 12))
    def open(self, size: int, room: int) -> None:
        self.manager = scene(batch_size=size, max_waiting=room, write_timeout=20)
        self.scene = self.loop.run_until_complete(self.manager.__aenter__())
        for _ in range(3):
            thread = self.loop.run_until_complete(self.scene.thread())
            self.order[thread] = []

    def operation(self, pick: int) -> Operation:
        threads = list(self.order)
        made = append(threads[pick % len(threads)])
        self.order[made.thread].append(made.id)
        self.operations[made.id] = made
        return made

    def run(self) -> None:
        """Let the loop run until nothing moves any more."""
        self.loop.run_until_complete(settle())

    # ---- callers

    @rule(pick=picks, count=st.integers(1, 6), kinds=st.lists(faults, max_size=3))
    def write(self, pick: int, count: int, kinds: list[Callable[[], Fault]]) -> None:
        self.scene.store.faults.extend(kind() for kind in kinds)

        async def start() -> None:
            for number in range(count):
                made = self.operation(pick // 2 + number // 3)
                self.tasks[made.id] = self.scene.start(made)

        self.loop.run_until_complete(start())
        self.run()

    @rule(pick=picks, turns=st.integers(0, 6))
    def come_and_go(self, pick: int, turns: int) -> None:
        async def start() -> None:
            made = self.operation(pick)
            task = self.tasks[made.id] = self.scene.start(made)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()

        self.loop.run_until_complete(start())
        self.run()

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        running = [task for task in self.tasks.values() if not task.done()]
        if running:
            running[pick % len(running)].cancel()
            self.run()

    @rule(pick=picks, count=st.integers(1, 6))
    def enqueue(self, pick: int, count: int) -> None:
        async def start() -> None:
            for number in range(count):
                made = self.operation(pick // 2 + number // 3)
                try:
                    self.scene.writer.enqueue(made)
                except CapacityError:
                    self.refused.add(made.id)
                else:
                    self.enqueued.append(made.id)

        self.loop.run_until_complete(start())
        self.run()

    @rule(pick=picks)
    def write_again(self, pick: int) -> None:
        """One that was told that it may have been stored."""
        unsure = [name for name, task in self.tasks.items() if _is_unsure(task)]
        if unsure:
            name = unsure[pick % len(unsure)]
            self.again.add(name)

            async def start() -> None:
                self.tasks[name] = self.scene.start(self.operations[name])

            self.loop.run_until_complete(start())
            self.run()

    @rule()
    def flush(self) -> None:
        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(self.scene.writer.flush())

        backlog = self.scene.writer._backlog
        accepted = set(backlog.everything()) - set(backlog._line)
        self.flushes.append((self.loop.run_until_complete(start()), accepted))
        self.run()

    # ---- the store

    @rule(pick=picks)
    def poison(self, pick: int) -> None:
        entries = self.scene.writer._backlog.everything()
        untried = [entry.operation.id for entry in entries if not entry.was_tried]
        if untried:
            self.scene.store.poison.add(untried[pick % len(untried)])

    @rule(is_open=st.booleans())
    def gate(self, is_open: bool) -> None:
        (self.scene.store.gate.set if is_open else self.scene.store.gate.clear)()
        self.run()

    @rule(error=st.sampled_from([None, StorageUnavailableError("away"), StorageFullError()]))
    def fail_always(self, error: Exception | None) -> None:
        self.scene.store.always = error

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 3.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.scene.clock.advance(seconds))

    # ---- what always holds

    def said(self) -> dict[str, list[str]]:
        """Ids of the messages in each thread's log."""
        return {
            thread: self.loop.run_until_complete(self.scene.store.said(thread))
            for thread in self.order
        }

    @invariant()
    def nothing_is_there_twice_or_untrue(self) -> None:
        if not self.order:
            return
        there = [name for names in self.said().values() for name in names]
        assert len(there) == len(set(there))
        present = set(there)
        for name, task in self.tasks.items():
            if task.done() and not task.cancelled():
                error = task.exception()
                if error is None:
                    assert isinstance(task.result(), Written)
                    assert name in present
                elif isinstance(error, StorageFullError) or "it is not stored" in str(error):
                    # What is repeated may be there since the first time.
                    assert name not in present or name in self.again
        assert not present & self.refused

    @invariant()
    def the_counts_are_true(self) -> None:
        if not self.order:
            return
        backlog = self.scene.writer._backlog
        entries = [entry for entry in backlog.everything() if entry not in backlog._line]
        assert backlog.count == len(entries)
        assert backlog.bytes == sum(entry.size for entry in entries)
        assert backlog.urgent == sum(entry.urgent for entry in backlog._queue)
        assert backlog.count <= self.scene.writer.options.max_waiting
        assert set(backlog.awaited()) == {e for e in backlog.everything() if e.turn is not None}

    @invariant()
    def a_flush_that_has_ended_has_left_nothing_behind(self) -> None:
        if not self.order:
            return
        waiting = set(self.scene.writer._backlog.everything())
        for task, accepted in self.flushes:
            assert task.done() != bool(accepted & waiting)

    @invariant()
    def a_caller_that_is_answered_is_not_waited_for(self) -> None:
        if not self.order:
            return
        queued = {e.operation.id for e in self.scene.writer._backlog._queue if e.turn is not None}
        for name, task in self.tasks.items():
            assert not (task.done() and name in queued)

    def teardown(self) -> None:
        if self.order:
            self.heal()
            self.nothing_is_there_twice_or_untrue()
            self.everything_came_to_its_end_in_order()
            self.loop.run_until_complete(self.manager.__aexit__(None, None, None))
        self.loop.close()

    def heal(self) -> None:
        store = self.scene.store
        store.always = None
        store.faults.clear()
        store.gate.set()
        for _ in range(5):
            self.loop.run_until_complete(self.scene.clock.advance(6))

    def everything_came_to_its_end_in_order(self) -> None:
        assert self.scene.writer.statistics().waiting == 0
        assert all(task.done() for task, _ in self.flushes)
        said = self.said()
        present = {name for names in said.values() for name in names}
        assert set(self.enqueued) <= present | set(self.scene.store.inner.letters)
        for thread, names in self.order.items():
            once = [name for name in said[thread] if name not in self.again]
            assert once == [name for name in names if name in once]
        for task in self.tasks.values():
            assert task.done()
            if not task.cancelled() and task.exception() is not None:
                assert isinstance(task.exception(), FairleadError)


def _is_unsure(task: asyncio.Task[object]) -> bool:
    return (
        task.done()
        and not task.cancelled()
        and isinstance(task.exception(), StorageUnavailableError)
        and "may have been" in str(task.exception())
    )


WriterMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestWriter = WriterMachine.TestCase

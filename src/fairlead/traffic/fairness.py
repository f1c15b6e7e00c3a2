"""Fair queueing between flows, and weighted turns between classes. No time, no event loop.

Inside a class it is the scheme of Kubernetes API Priority and Fairness (KEP-1040): a flow is dealt
a few of a fixed number of queues, its tasks join the shortest of them, and the queue that has had
the least service goes next. Nothing is kept per flow, so memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WORK = 8.0
"""A turn costs at most so many average tasks more: long answers cost their flow, but do not keep
its next task out for minutes."""


def deal(flow: str, queues: int, hand_size: int) -> tuple[int, ...]:
    """The hand of `flow`: `hand_size` distinct numbers below `queues`, the same in every process.

    Shuffle sharding: two flows share a whole hand with a probability of one in
    `queues` choose `hand_size`, so a heavy flow leaves others a queue without it.
    """
    digest = hashlib.blake2b(flow.encode("utf-8", "surrogatepass"), person=b"fairlead hand")
    value = int.from_bytes(digest.digest(), "big")
    cards = list(range(queues))
    hand = []
    for left in range(queues, queues - hand_size, -1):
        value, card = divmod(value, left)
        hand.append(cards.pop(card))
    return tuple(hand)


class Line(Generic[T]):
    """One of a class's queues: first come, first served."""

    __slots__ = ("debt", "items", "running", "scheduled", "start")

    def __init__(self) -> None:
        self.items: OrderedDict[T, None] = OrderedDict()
        self.running = 0
        """Tasks that came out of this line and have not ended."""
        self.start = 0.0
        """Virtual time at which its next task is due: the work that it was served."""
        self.debt = 0.0
        """Work of ended tasks beyond the unit that each was charged; below 0 for less."""
        self.scheduled = False
        """It has its one entry in the heap."""


class FairQueue(Generic[T]):
    """The waiting tasks of one class in `queues` lines; the line least served goes next.

    Start-time fair queueing (Goyal, Vin, Cheng 1996): virtual time is the start of the task that
    went last. A task costs one unit when it goes; when it has ended, what it really took is
    corrected at its line's next turn, never back beyond the virtual time. A line comes back from
    idling at the virtual time or, where it was served just now, behind that turn: with nothing
    saved up, and no correction to pay.
    """

    def __init__(self, queues: int) -> None:
        self.waiting = 0
        self.lines: Sequence[Line[T]] = [Line() for _ in range(queues)]
        self._virtual = 0.0
        self._order = itertools.count()
        self._heap: list[tuple[float, bool, int, Line[T]]] = []
        self._by_length: list[dict[Line[T], None]] = [dict.fromkeys(self.lines)]

    def shortest(self, hand: Sequence[int]) -> Line[T]:
        """The line of `hand` with the fewest tasks waiting; among equals, the least served one."""
        lines = self.lines
        best = lines[hand[0]]
        for index in hand:
            line = lines[index]
            more = len(line.items) - len(best.items)
            if more < 0 or (more == 0 and self._due(line) < self._due(best)):
                best = line
        return best

    @property
    def longest(self) -> Line[T]:
        """A line with the most tasks waiting: of several, the one that got there last."""
        by_length = self._by_length
        while not by_length[-1]:
            by_length.pop()
        return next(reversed(by_length[-1]))

    def push(self, line: Line[T], item: T) -> None:
        """Let `item` wait at the end of `line`."""
        if not line.scheduled:
            line.start = self._due(line)
            if not line.running:
                line.debt = 0.0
            self._schedule(line, backlog=False)
        line.items[item] = None
        self._moved(line, len(line.items) - 1)

    def pop(self) -> tuple[Line[T], T]:
        """Take out the task that is next, with the line that it counts for until `settle`.

        `IndexError` where none waits.
        """
        start, _, _, line = heapq.heappop(self._heap)
        while not line.items:
            line.scheduled = False
            start, _, _, line = heapq.heappop(self._heap)
        self._virtual = start
        item, _ = line.items.popitem(last=False)
        self._moved(line, len(line.items) + 1)
        line.running += 1
        line.start = start + max(0.0, 1.0 + line.debt)
        line.debt = 0.0
        line.scheduled = False
        if line.items:
            self._schedule(line, backlog=True)
        return line, item

    def settle(self, line: Line[T], work: float) -> None:
        """A task out of `line` has ended; it took `work` (1 is an average task)."""
        line.running -= 1
        line.debt = min(line.debt + work - 1.0, MAX_WORK)

    def remove(self, line: Line[T], item: T) -> None:
        """Take `item` out of the middle; `KeyError` where it is not there."""
        del line.items[item]
        self._moved(line, len(line.items) + 1)

    def drop(self, line: Line[T]) -> T:
        """Take out the youngest task of `line`."""
        item, _ = line.items.popitem()
        self._moved(line, len(line.items) + 1)
        return item

    def clear(self) -> list[T]:
        """Take out everything."""
        items = [item for line in self.lines for item in line.items]
        for line in self.lines:
            for item in list(line.items):
                self.remove(line, item)
        return items

    def _due(self, line: Line[T]) -> float:
        # What it was served counts even after a pause: otherwise ever new flows, each with a line
        # of its own at the virtual time, would keep that from moving, and everybody else out.
        return line.start if line.scheduled else max(self._virtual, line.start)

    def _schedule(self, line: Line[T], *, backlog: bool) -> None:
        # Of equal standing, a line that had nothing waiting goes before those that always have:
        # where all tasks take the same time these would be many. The number keeps the others in
        # turn. A line is in the heap once at most, and its key never changes there: so the heap is
        # no longer than there are lines.
        line.scheduled = True
        heapq.heappush(self._heap, (line.start, backlog, next(self._order), line))

    def _moved(self, line: Line[T], before: int) -> None:
        by_length = self._by_length
        del by_length[before][line]
        length = len(line.items)
        if length == len(by_length):
            by_length.append({})
        by_length[length][line] = None
        self.waiting += length - before


class Turns:
    """Which of several classes goes next: each as often as its weight says (stride scheduling).

    Waldspurger and Weihl 1995. A class without tasks does not save up turns.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._strides = [1.0 / weight for weight in weights]
        self._due = [0.0] * len(weights)
        self._virtual = 0.0

    def wake(self, index: int) -> None:
        """Class `index` has tasks again, after having none."""
        self._due[index] = max(self._due[index], self._virtual)

    def choose(self, candidates: Iterable[int]) -> int:
        """The class of `candidates` that goes next; of equals, the first."""
        return min(candidates, key=self._due.__getitem__)

    def charge(self, index: int, share: float) -> None:
        """Class `index` has had its turn; it counts as `share` of a turn."""
        self._virtual = max(self._virtual, self._due[index])
        self._due[index] += self._strides[index] * share

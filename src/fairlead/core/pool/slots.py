"""The places of a pool: what is in each, in which state, and how many of each state there are."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from fairlead.core.waiting import Deadline

T = TypeVar("T")


class State(enum.IntEnum):
    """What a slot is occupied by; a free slot does not exist."""

    CREATING = 0
    VALIDATING = 1
    IDLE = 2
    IN_USE = 3
    DISPOSING = 4
    STUCK = 5
    """By work that was told to stop and has not ended."""


class Slot(Generic[T]):
    """A place that is taken, and the resource in it once there is one. Times are monotonic."""

    __slots__ = ("expires", "generation", "lifetime", "resource", "state", "used")

    def __init__(self, generation: int) -> None:
        """`generation`: how often the pool had been renewed when this one's creation began."""
        self.generation = generation
        self.state = State.CREATING
        self.resource: T
        self.used = self.expires = 0.0
        self.lifetime: Deadline


class Slots(Generic[T]):
    """All slots that are not free; a slot is in exactly one state."""

    def __init__(self) -> None:
        self._slots: set[Slot[T]] = set()
        self._by_id: dict[int, Slot[T]] = {}
        self._idle: OrderedDict[Slot[T], None] = OrderedDict()
        self._sizes = [0] * len(State)

    def add(self, slot: Slot[T]) -> None:
        """Take a free place, for a creation."""
        self._slots.add(slot)
        self._sizes[slot.state] += 1

    def fill(self, slot: Slot[T], resource: T) -> None:
        """Put what was created in its place."""
        slot.resource = resource
        self._by_id[id(resource)] = slot

    def find(self, resource: T) -> Slot[T] | None:
        """The slot of a resource that is not on its way out."""
        return self._by_id.get(id(resource))

    def move(self, slot: Slot[T], state: State) -> None:
        """Change a slot's state; one that becomes idle is the most recently used of these."""
        if slot.state is State.IDLE:
            del self._idle[slot]
        self._sizes[slot.state] -= 1
        self._sizes[state] += 1
        slot.state = state
        if state is State.IDLE:
            self._idle[slot] = None

    def retire(self, slot: Slot[T]) -> None:
        """The resource is on its way out, its slot still taken."""
        del self._by_id[id(slot.resource)]
        self.move(slot, State.DISPOSING)

    def remove(self, slot: Slot[T]) -> None:
        """The place is free."""
        self._slots.discard(slot)
        self._sizes[slot.state] -= 1

    def count(self, state: State) -> int:
        """How many are in `state`."""
        return self._sizes[state]

    @property
    def coming(self) -> int:
        """How many will be there for somebody soon, if all goes well."""
        return self._sizes[State.CREATING] + self._sizes[State.VALIDATING]

    @property
    def alive(self) -> int:
        """How many have a resource, or are to have one soon, that is not on its way out."""
        return self.coming + self._sizes[State.IDLE] + self._sizes[State.IN_USE]

    @property
    def most_recent(self) -> Slot[T] | None:
        """The idle one that was used last."""
        return next(reversed(self._idle)) if self._idle else None

    @property
    def least_recent(self) -> Slot[T] | None:
        """The idle one that was not used for longest."""
        return next(iter(self._idle)) if self._idle else None

    def by_state(self) -> dict[str, int]:
        """How many are in each state, by its name in lower case."""
        return {state.name.lower(): self._sizes[state] for state in State}

    def __iter__(self) -> Iterator[Slot[T]]:
        """A copy, so that they may change meanwhile."""
        return iter(list(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def __repr__(self) -> str:
        sizes = [f"{size} {state}" for state, size in self.by_state().items() if size]
        return f"<Slots {', '.join(sizes) or 'empty'}>"

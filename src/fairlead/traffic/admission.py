"""Records of the queue before a server: how it is set, and what it shows."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.core.histogram import Histogram
from fairlead.errors import ConfigurationError

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("critical", "high", "normal", "low")
"""The classes, most urgent first."""

MAX_QUEUES, MAX_HAND = 1024, 32
"""What the 512 bits of the hash behind a hand are enough for (32 times 10 bits)."""


class QueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an `AdaptiveQueueManager`; `ConfigurationError` for what cannot work."""

    limit: int = 100
    """Tasks at a time; where `adaptive`, the value to start from."""
    adaptive: bool = False
    """Let the limit follow the server's time to first byte and its refusals."""
    min_limit: int = 4
    max_limit: int = 1000
    """Bounds of the adaptive limit."""
    max_waiting: int = 1000
    """Per class."""
    timeout: float = 30.0
    """Seconds in the queue at most."""
    queues: int = 512
    """Per class, among which flows are sharded: enough that 16 heavy flows, which take up to 128
    of them, leave a light flow without one of its own only once in 160,000."""
    hand_size: int = 8
    """Queues that one flow may use."""
    weights: tuple[float, float, float, float] = (8.0, 4.0, 2.0, 1.0)
    """Shares of critical, high, normal and low while all of them have tasks waiting."""
    ageing: float = 10.0
    """A task costs its class less the longer it has waited: after so many seconds half."""

    def __post_init__(self) -> None:
        _within("limit", self.limit, 1, 1_000_000)
        _within("min_limit", self.min_limit, 1, 1_000_000)
        _within("max_limit", self.max_limit, self.min_limit, 1_000_000)
        if self.adaptive:
            _within("limit", self.limit, self.min_limit, self.max_limit)
        _within("max_waiting", self.max_waiting, 0, 1_000_000)
        _within("timeout", self.timeout, 0.001, 86_400)
        _within("queues", self.queues, 1, MAX_QUEUES)
        _within("hand_size", self.hand_size, 1, min(self.queues, MAX_HAND))
        _within("ageing", self.ageing, 0.001, 86_400)
        for weight in self.weights:
            _within("weights", weight, 0.001, 1_000_000)


def _within(key: str, value: float, lowest: float, highest: float) -> None:
    # Written so that NaN fails too.
    if not lowest <= value <= highest:
        raise ConfigurationError(f"queue.{key}", value, f"use {lowest:g} to {highest:g}")


class ClassStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One class now, and counts since the queue was made.

    A task counts where it was: one that overflowed is an `overflowed` of its own class, and
    everything later happens to it in the class above.
    """

    waiting: int
    admitted: int
    """Tasks that got a slot, at once or after waiting."""
    refused: dict[str, int]
    """By reason: full, share, shed, timeout."""
    abandoned: int
    """Callers that were cancelled while they waited."""
    overflowed: int
    """Tasks that went to the class above because this one was full."""
    waits: Histogram
    """Seconds that admitted tasks had waited, of those that did not go at once."""
    longest_wait: float
    """The longest of them."""
    oldest_wait: float
    """Seconds that the task waiting longest has waited so far; 0 where none waits."""


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of an `AdaptiveQueueManager`."""

    name: str
    limit: int
    min_limit: int
    max_limit: int
    """Equal to `limit`, as is `min_limit`, where the limit is not adaptive."""
    running: int
    drain_rate: float
    """Tasks that end per second, lately."""
    first_byte: float
    """Seconds to the first byte that the limiter takes for normal; 0 before it knows."""
    overloads: int
    """Times that the limit was lowered because the server said that it has too much to do."""
    classes: dict[str, ClassStatistics]

    @property
    def waiting(self) -> int:
        """Tasks that wait, of all classes."""
        return sum(one.waiting for one in self.classes.values())

    @property
    def timeouts(self) -> int:
        """Tasks refused because they had waited for too long."""
        return sum(one.refused.get("timeout", 0) for one in self.classes.values())

"""One exchange while it passes: references and counts, nothing that takes time."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.gateway.base import ModelRequest, UsageRecord
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.stream import FlightBudget

OVERHEAD = 64
"""Bytes that a piece takes besides its content: events are often shorter than that."""


class TurnTape:
    """Keeps the beginning of an answer, up to `max_bytes`, as far as `budget` allows.

    The request is held by whoever answers it until the exchange ends; only then it counts.
    """

    __slots__ = (
        *("request", "body", "headers", "pieces", "usage", "ended", "lost", "truncated"),
        *("_budget", "_on_end", "_room", "_held"),
    )

    def __init__(
        self,
        request: ModelRequest,
        body: bytes,
        budget: FlightBudget,
        on_end: Callable[[TurnTape], None],
        max_bytes: int,
    ) -> None:
        """`on_end` gets the tape when the exchange is over, and releases it some time."""
        self.request = request
        self.body = body
        """Of the request, decoded."""
        self.headers: Headers = []
        """Of the answer."""
        self.pieces: list[bytes] = []
        self.usage: UsageRecord
        """Once the exchange is over."""
        self.ended = 0.0
        """Seconds since 1970; set by `on_end`."""
        self.lost = False
        """There was no room for it."""
        self.truncated = False
        """The answer is longer than what was kept."""
        self._budget = budget
        self._on_end = on_end
        self._room = max_bytes
        self._held = 0

    def head(self, headers: Headers) -> None:
        """The answer begins."""
        self.headers = headers

    def add(self, data: bytes) -> None:
        """Keep a piece of the answer, if there is room."""
        size = len(data) + OVERHEAD
        if size <= self._room and self._budget.take(size):
            self._room -= size
            self._held += size
            self.pieces.append(data)
        else:
            self._overflow(size)

    def _overflow(self, size: int) -> None:
        if size > self._room:
            self.truncated = True
        else:
            # Half a conversation is of no use to anybody: what was kept makes room for others.
            self.lost = True
            self.release()
        self._room = -1

    def end(self, usage: UsageRecord) -> None:
        """The exchange is over."""
        self.usage = usage
        self._on_end(self)

    def hold(self) -> bool:
        """Count the request as well: from now on nobody else holds it. False: there is no room."""
        body, raw = self.body, self.request.body
        size = len(body) + (0 if body is raw else len(raw)) + OVERHEAD
        if self.lost or not self._budget.take(size):
            return False
        self._held += size
        return True

    def release(self) -> None:
        """Forget what is held; idempotent."""
        self._budget.give_back(self._held)
        self._held = 0
        self.pieces.clear()

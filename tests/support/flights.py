"""One upstream call in a flight, held by the test."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.gateway.stream import Answer, Flight, FlightBudget
from support.gateway import EVENTS, ScriptedReply


class HeldCall:
    """One upstream call, held by the test, and the flight that makes it."""

    def __init__(self, max_bytes: int = 1 << 20, budget: int = 1 << 30) -> None:
        self.reply = ScriptedReply(headers=EVENTS)
        self.head = asyncio.Event()
        self.error: Exception | None = None
        self.calls = 0
        self.cancelled = 0
        self.sealed: list[bytes | None] = []
        self.budget = FlightBudget(budget)
        self.flight = Flight(
            max_bytes, self.budget, lambda flight: self.sealed.append(flight.whole_body())
        )

    async def call(self) -> Answer:
        self.calls += 1
        try:
            await self.head.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Answer("up-1", self.reply)

    async def ended(self) -> None:
        """Return in the turn of the loop in which the call has ended."""
        for _ in range(100):
            if self.flight.ended:
                return
            await asyncio.sleep(0)
        pytest.fail("the call does not end")

    def answer(self, *pieces: bytes) -> None:
        self.head.set()
        self.reply.feed(*pieces)

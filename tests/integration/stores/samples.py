"""Keys, answers and listeners for the tests of the persistent tier."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse
from fairlead.testing import ManualClock


def key(number: int, tenant: str = "team-1", model: str = "m-1") -> CacheKey:
    """The key of entry `number`."""
    text = f"{tenant}/{model}/{number}"
    return CacheKey(sha256(text.encode()).digest(), tenant, model)


def answer(clock: ManualClock, size: int = 100, seed: int = 0) -> StoredResponse:
    """An answer made now, of `size` bytes that do not compress."""
    headers = [(b"content-type", b"application/json"), (b"x-twice", b"1"), (b"x-twice", b"\xff2")]
    body = random.Random(seed).randbytes(size)  # noqa: S311 - the same in every process
    return StoredResponse(200, headers, body, clock.time(), 42)


async def until(clock: ManualClock, condition: Callable[[], bool]) -> None:
    """Let the clock go on by a second at a time until `condition()`; 10 real seconds at most."""
    async with asyncio.timeout(10):
        while not condition():
            await clock.advance(1.0)
            await asyncio.sleep(0.01)


class Listener:
    """What a store announced."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._heard: asyncio.Queue[PurgeSelector] = asyncio.Queue()

    def __call__(self, selector: PurgeSelector) -> None:
        """Note it."""
        self._heard.put_nowait(selector)

    async def next(self) -> PurgeSelector:
        """The next announcement; the clock goes on by a second at a time until it comes."""
        async with asyncio.timeout(10):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        return await self._heard.get()
                await self._clock.advance(1.0)

    @property
    def silent(self) -> bool:
        """Nothing was announced that was not taken."""
        return self._heard.empty()

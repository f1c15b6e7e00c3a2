"""Removing what may not be kept any longer, in small steps beside the node's work."""

from __future__ import annotations

import logging
from typing import Protocol

from fairlead.conversations.records import Pruned, RetentionRules
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import StorageError

INTERVAL = 60.0
"""Seconds between looks for what is too old or too much."""
PAUSE = 0.05
"""Seconds between two steps, in which writes find their turn."""

_log = logging.getLogger("fairlead")


class Prunable(Protocol):
    """A store that removes what may not be kept, one small step at a time."""

    async def prune(self, rules: RetentionRules, now: int) -> Pruned:
        """Do one step; `now` in milliseconds since 1970."""
        ...


class Retention(Resource):
    """Keeps a store within its rules; a store that is away is asked again at the next look."""

    def __init__(
        self, store: Prunable, rules: RetentionRules, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.rules = rules
        self.threads = 0
        """Removed since it was opened."""
        self._store = store
        self._clock = clock
        self._tasks = TaskOwner(log_failure)
        self._failing = False

    async def _open(self) -> None:
        await self._tasks.open()
        self._tasks.spawn(self._run(), "retention of conversations")

    async def _close(self) -> None:
        await self._tasks.close()

    async def _run(self) -> None:
        while True:
            await self._look()
            await self._clock.sleep(INTERVAL)

    async def _look(self) -> None:
        try:
            while (await self._step()).more:
                await self._clock.sleep(PAUSE)
            self._failing = False
        except StorageError as error:
            if not self._failing:
                _log.warning("conversations beyond their retention stay for now: %s", error)
            self._failing = True

    async def _step(self) -> Pruned:
        pruned = await self._store.prune(self.rules, int(self._clock.time() * 1000))
        self.threads += pruned.threads
        return pruned

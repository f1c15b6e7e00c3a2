"""Watching a workspace's directories for changes: a hint, on which no answer depends.

Notifications are lost when too many come, come late, and do not exist on network file systems. So
what they say makes the cache forget early, and what they do not say does no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from fairlead.core.clock import Clock
from fairlead.core.retry import full_jitter
from fairlead.core.worker import WorkerThread
from fairlead.errors import FairleadError

DEBOUNCE_MS, STEP_MS, PATIENCE_MS = 400, 100, 1000
"""A batch ends after so long, or when nothing has come for so long; so long is waited for one."""
RENEW_AFTER = 5.0
"""Seconds between two looks at which directories there are."""
RETRY_BASE, RETRY_CAP = 1.0, 300.0
"""Seconds before a watcher that died is started again: full jitter between 0 and these."""

_DEADLINE = 30.0
_ADDED, _MODIFIED = 1, 2

logger = logging.getLogger("fairlead.workspace.watch")


Changes = set[tuple[int, str]]
"""1 added, 2 modified, 3 deleted; the absolute path."""
Listen = Callable[[Sequence[Path], threading.Event], Generator[Changes, None, None]]
"""Yields the changes in directories, or an empty set where there were none for a while, until the
event is set; raises `OSError` or `RuntimeError`."""


class Audience(Protocol):
    """Who is told; `changed` and `lost` are called on the event loop, the others in a thread."""

    def directories(self) -> Sequence[Path]:
        """What to watch: directories beneath the root, none of them reached by a symlink."""
        ...

    def is_there(self) -> bool:
        """Whether the root's path still leads to the root."""
        ...

    def changed(self, paths: Iterable[str], *, names: bool) -> None:
        """These absolute paths have changed; `names`: some came or went."""
        ...

    def lost(self) -> None:
        """Anything may have changed."""
        ...


class DeadWatcherError(FairleadError):
    """The watcher has ended."""


class Watcher:
    """Tells an audience of changes as long as `run` does; starts again when it has died."""

    def __init__(
        self,
        audience: Audience,
        clock: Clock,
        *,
        max_watched: int,
        max_changes: int,
        listen: Listen | None = None,
    ) -> None:
        """`max_watched` directories; of more than `max_changes` paths at a time all is lost.

        `listen` is watchfiles' own unless given.
        """
        self.state = "starting"
        """`watching`, or why not."""
        self._audience = audience
        self._clock = clock
        self._max_watched = max_watched
        self._max_changes = max_changes
        self._listen = listen or _listen

    async def run(self) -> None:
        """Watch until cancelled, or until there is too much to watch."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                if not await self._watch():
                    self.state = f"off: there are more than {self._max_watched} directories"
                    return
            except FairleadError as error:
                # One that has worked for a while begins anew with the shortest waits.
                failures = 0 if self._clock.monotonic() - began > RETRY_CAP else failures + 1
                self._died(error)
                await self._clock.sleep(full_jitter(failures, RETRY_BASE, RETRY_CAP))

    def _died(self, error: FairleadError) -> None:
        if self.state == "watching":
            self._audience.lost()
        self.state = f"resting: {error}"
        logger.warning("a workspace is not watched for now: %s", error)

    async def _watch(self) -> bool:
        """Watch what there is now until that is not all any more; False: it is too much."""
        listening = _Listening(self._audience, self._listen, self._max_watched)
        thread = WorkerThread("workspace-watch", max_jobs=1)
        thread.start()
        try:
            if not await thread.run(listening.start, _DEADLINE):
                return False
            began = self._clock.monotonic()
            is_old = False
            while not is_old or self._clock.monotonic() - began < RENEW_AFTER:
                batch = await thread.run(listening.next, _DEADLINE)
                self.state = "watching"
                self._tell(batch)
                is_old = is_old or batch.directories
            return True
        finally:
            listening.stop.set()
            await thread.stop(listening.end, _DEADLINE)

    def _tell(self, batch: _Batch) -> None:
        if len(batch.paths) > self._max_changes:
            self._audience.lost()
        elif batch.paths:
            self._audience.changed(batch.paths, names=batch.names)


class _Batch(NamedTuple):
    """What one call of a notifier has brought."""

    paths: frozenset[str] = frozenset()
    names: bool = False
    """Some came or went."""
    directories: bool = False
    """Directories came, which are not watched."""


class _Listening:
    """A notifier from its beginning to its end; all but `stop` is the watching thread's."""

    def __init__(self, audience: Audience, listen: Listen, max_watched: int) -> None:
        self.stop = threading.Event()
        """Set, a wait for changes ends within `STEP_MS`."""
        self._audience = audience
        self._listen = listen
        self._max_watched = max_watched
        self._changes: Generator[Changes, None, None] | None = None

    def start(self) -> bool:
        """Find out what to listen to; False: there are too many directories."""
        directories = self._audience.directories()
        if len(directories) > self._max_watched:
            return False
        self._changes = self._listen(directories, self.stop)
        return True

    def next(self) -> _Batch:
        """Wait for changes, but not for long: empty where there were none."""
        if self._changes is None:
            raise DeadWatcherError
        try:
            changes = next(self._changes, None)
        except (OSError, RuntimeError) as error:  # watchfiles' own error is a RuntimeError
            raise DeadWatcherError(str(error)) from error
        if changes is None:
            raise DeadWatcherError
        if not self._audience.is_there():
            raise DeadWatcherError("the workspace's directory is not there any more")
        return _batch(changes)

    def end(self) -> None:
        """Give back what watches."""
        if self._changes is not None:
            self._changes.close()


def _batch(changes: Changes) -> _Batch:
    return _Batch(
        paths=frozenset(path for _, path in changes),
        names=any(change != _MODIFIED for change, _ in changes),
        directories=any(change == _ADDED and Path(path).is_dir() for change, path in changes),
    )


def _listen(directories: Sequence[Path], stop: threading.Event) -> Generator[Changes, None, None]:
    # Late: it takes a while to import, and only a node that serves workspaces needs it.
    from watchfiles import watch  # noqa: PLC0415 - see above

    # Each directory by itself: recursively, it would follow symlinks out of the workspace.
    for changes in watch(
        *directories,
        watch_filter=None,
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        stop_event=stop,
        rust_timeout=PATIENCE_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
        force_polling=False,
        recursive=False,
        ignore_permission_denied=True,
    ):
        yield {(int(change), path) for change, path in changes}

"""`AnalysisWorkers`: contents analysed by processes, on all cores and off the event loop.

Processes, because parsing holds Python's lock, and because a parser is a program in C that reads
what strangers wrote: where one crashes or never ends, one process does. They are started anew
(never forked from a process with threads), when they are needed, and end when nobody needs them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.pool import PoolOptions, PoolStatistics, ResourcePool
from fairlead.errors import FairleadError
from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.frames import HEAD, MAX_FRAME, decode_analysis, frame
from fairlead.workspace.languages import language_of

WORKER = "fairlead.workspace.analyser"
_READ_AHEAD = 1024 * 1024

Files = Sequence[tuple[str, bytes]]


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of `AnalysisWorkers`; times in seconds."""

    processes: int | None = None
    """At most; None: one for each core that this process may use."""
    file_deadline: float = 10.0
    """A file that takes longer is given up, and its process ended."""
    max_idle: float = 60.0
    """A process that had nothing to do for so long ends."""
    start_deadline: float = 30.0
    """For a process to be ready."""
    wait_deadline: float = 300.0
    """For a process to become free."""
    max_waiting: int = 1000
    """Batches that may wait for a process."""
    batch_files: int = 32
    batch_bytes: int = 256 * 1024
    """What a process is given at a time, and one file at least."""


_DEFAULTS = WorkerOptions()


class LostWorkerError(FairleadError):
    """A worker process has ended in the middle of its work, or says what it should not."""


class LateWorkerError(LostWorkerError):
    """A worker process took too long for a file."""


class AnalysisWorkers(Resource):
    """An `Analyse` with processes of its own; belongs to one event loop.

    A file whose process crashes twice, or does not end in time, is given up: its analysis says no
    more than its language and that it is broken. Cancelling a call ends the processes that work
    for it. Raises `PoolTimeoutError` and `PoolFullError` where no process becomes free, or none can
    be started.
    """

    def __init__(self, options: WorkerOptions = _DEFAULTS, clock: Clock = SYSTEM_CLOCK) -> None:
        self.size = options.processes or len(os.sched_getaffinity(0))
        """How many processes there are at most."""
        self.given_up = 0
        """How many files have crashed a process, or held it up."""
        self._options = options
        self._clock = clock
        self._pool: ResourcePool[Worker]
        self._busy: set[Worker] = set()

    async def __call__(self, files: Files) -> Sequence[FileAnalysis]:
        """An analysis for each path and content, in the same order."""
        self.check_open()
        found: dict[int, list[FileAnalysis]] = {}
        batches = enumerate(in_batches(files, self._options))

        async def work() -> None:
            # No more batches stand in line than there are processes: who comes later has a turn.
            for number, batch in batches:
                found[number] = await self._analysed(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.size, len(files))):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [analysis for number in sorted(found) for analysis in found[number]]

    def statistics(self) -> PoolStatistics:
        """What the processes do."""
        self.check_open()
        return self._pool.statistics()

    async def _open(self) -> None:
        options = PoolOptions(
            min_size=0,
            max_size=self.size,
            max_idle=self._options.max_idle,
            max_waiting=self._options.max_waiting,
            acquire_timeout=self._options.wait_deadline,
            create_timeout=self._options.start_deadline,
        )
        # A pool opens only once.
        self._pool = ResourcePool(
            start_worker,
            Worker.end,
            validate=Worker.is_alive,
            options=options,
            name="analysis workers",
            clock=self._clock,
        )
        await self._pool.open()

    async def _close(self) -> None:
        # What they work at is lost, and who waits for it is turned away by the pool.
        for worker in self._busy:
            worker.kill()
        await self._pool.close()

    async def _analysed(self, batch: Files) -> list[FileAnalysis]:
        found: list[FileAnalysis] = []
        suspect = -1
        while len(found) < len(batch):
            try:
                await self._ask(batch[len(found) :], found.append)
            except LostWorkerError as error:
                place = len(found)
                # Whoever kills a process may mean another file, or none: it is tried once more.
                if place == suspect or isinstance(error, LateWorkerError):
                    self.given_up += 1
                    found.append(FileAnalysis(language_of(batch[place][0]), is_broken=True))
                suspect = place
        return found

    async def _ask(self, files: Files, tell: Callable[[FileAnalysis], None]) -> None:
        worker = await self._pool.acquire()
        self._busy.add(worker)
        sound = False
        try:
            await worker.analyse(files, self._options.file_deadline, tell)
            sound = True
        finally:
            self._busy.discard(worker)
            # What is left of a conversation that broke off would be taken for the next one.
            self._pool.release(worker, broken=not sound)

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<AnalysisWorkers {state}, at most {self.size}, {self.given_up} files given up>"


class Worker:
    """A worker process, seen from the node."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 - narrows: it was asked for
        assert process.stdout is not None  # noqa: S101 - the same
        self.process = process
        self._files = process.stdin
        self._answers = process.stdout

    async def analyse(
        self, files: Files, deadline: float, tell: Callable[[FileAnalysis], None]
    ) -> None:
        """Tell each file's analysis, in order; `deadline` (seconds) is for each.

        Raises `LostWorkerError`, and `LateWorkerError`, which is one.
        """
        try:
            self._files.writelines([frame(file) for file in files])
            for _ in files:
                async with asyncio.timeout(deadline):
                    tell(decode_analysis(await self._next()))
        except TimeoutError as error:
            raise LateWorkerError(f"a file took longer than {deadline:g} s") from error
        except (OSError, EOFError, msgspec.DecodeError) as error:
            raise LostWorkerError(f"{self!r} is lost: {error}") from error

    async def ready(self) -> None:
        """Return when it can be given files; raises `LostWorkerError` where it has ended."""
        try:
            await self._next()
        except EOFError as error:
            status = await self.process.wait()
            message = f"python -m {WORKER} ended with status {status} before it was ready"
            raise LostWorkerError(message) from error

    async def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def kill(self) -> None:
        """End it now: it has nothing that could be lost."""
        # One that has ended already is left to who waits for it: this would take its status.
        if not self._answers.at_eof():
            with suppress(ProcessLookupError):
                self.process.kill()

    async def end(self) -> None:
        """Return when it has ended."""
        self._files.close()
        self.kill()
        await self.process.wait()

    async def _next(self) -> bytes:
        (size,) = HEAD.unpack(await self._answers.readexactly(HEAD.size))
        if size > MAX_FRAME:
            raise EOFError(f"it announces {size} bytes")
        return await self._answers.readexactly(size)

    def __repr__(self) -> str:
        return f"<Worker {self.process.pid}>"


async def start_worker() -> Worker:
    """A process that is ready; raises `OSError`, `LostWorkerError`."""
    process = await asyncio.create_subprocess_exec(
        # -P: nothing is imported from the working directory, which may be anybody's repository.
        *(sys.executable, "-P", "-m", WORKER),
        stdin=PIPE,
        stdout=PIPE,
        limit=_READ_AHEAD,
        # Not of the terminal's group: on Ctrl-C the node ends it, when it is its turn.
        start_new_session=True,
    )
    worker = Worker(process)
    try:
        await worker.ready()
    except BaseException:
        await worker.end()
        raise
    return worker


def in_batches(files: Files, options: WorkerOptions = _DEFAULTS) -> Iterator[Files]:
    """The files in their order, parted so that no batch of several is beyond the bounds."""
    start = room = 0
    for place, (_, content) in enumerate(files):
        if place == start:
            room = options.batch_bytes
        elif len(content) > room or place - start == options.batch_files:
            yield files[start:place]
            start, room = place, options.batch_bytes
        room -= len(content)
    if files:
        yield files[start:]

"""From files that have changed to their analyses: read, looked up, and the rest analysed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from fairlead.core.clock import Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import CapacityError, FairleadError, NotFoundError, RequestError
from fairlead.workspace.base import (
    Analyse,
    AnalysisStore,
    FileAnalysis,
    Progress,
    SkipReason,
    Stamp,
    TreeFile,
)
from fairlead.workspace.content import is_binary
from fairlead.workspace.failures import translated
from fairlead.workspace.imports import is_manifest
from fairlead.workspace.languages import HEAD, language_of_content
from fairlead.workspace.mapoptions import RepositoryOptions
from fairlead.workspace.paths import Root
from fairlead.workspace.reading import read_handle
from fairlead.workspace.stamps import is_young, stamp_of
from fairlead.workspace.symbols import ANALYSIS_VERSION, MAX_ANALYSED
from fairlead.workspace.threads import Threads

_LOOKED_AT = max(HEAD, 8000)
"""Bytes of a file in no known language: enough to see that it is binary, as git does."""

Tell = Callable[[Progress], None]


class Found(NamedTuple):
    """A file as it was when it was read."""

    path: str
    stamp: Stamp
    key: str
    """Equal for equal contents in one language, and for files of which nothing is told."""
    is_young: bool
    """A later write might have left the same stamp."""
    analysis: FileAnalysis


class _Read(NamedTuple):
    """A file whose analysis is to be found."""

    path: str
    stamp: Stamp
    key: str
    is_young: bool
    data: bytes

    def found(self, analysis: FileAnalysis) -> Found:
        return Found(self.path, self.stamp, self.key, self.is_young, analysis)


class Gathering(Resource):
    """Gathers analyses; belongs to one event loop."""

    def __init__(
        self,
        root: Root,
        store: AnalysisStore,
        analyse: Analyse,
        options: RepositoryOptions,
        clock: Clock,
    ) -> None:
        self.read = self.found = self.analysed = 0
        """How many files were read, had an analysis in the store, had to be analysed."""
        self._root = root
        self._store = store
        self._analyse = analyse
        self._options = options
        self._clock = clock
        self._threads = Threads(
            "repository reads", options.threads, options.lanes, options.step_deadline
        )

    @property
    def has_ended(self) -> bool:
        """Whether no thread reads any more, as after a close that nothing held up."""
        return self._threads.have_ended

    async def gather(self, files: Sequence[TreeFile], tell: Tell) -> list[Found]:
        """What the files mean; those that have gone meanwhile are left out.

        Raises `CapacityError` after the deadline; what is in the store by then is there the next
        time. Raises what the store and the workers raise.
        """
        found: list[Found] = []
        done = 0
        batches = in_batches(files, self._options)

        async def lane() -> None:
            nonlocal done
            for batch in batches:
                found.extend(await self._batch(batch))
                done += len(batch)
                tell(Progress(done, len(files)))

        try:
            async with asyncio.timeout(self._options.deadline), asyncio.TaskGroup() as group:
                for _ in range(min(self._options.lanes, len(files))):
                    group.create_task(lane())
        except TimeoutError as error:
            raise CapacityError(_LATE.format(done, len(files))) from error
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return found

    async def _batch(self, batch: Sequence[TreeFile]) -> list[Found]:
        ready, asked = await self._threads.run(partial(self._read_all, batch))
        self.read += len(ready) + len(asked)
        if not asked:
            return ready
        known = await self._store.get([one.key for one in asked])
        self.found += sum(one.key in known for one in asked)
        new = {one.key: one for one in asked if one.key not in known}
        if new:
            analyses = await self._analyse([(one.path, one.data) for one in new.values()])
            self.analysed += len(new)
            fresh = dict(zip(new, analyses, strict=True))
            await self._store.put({key: one for key, one in fresh.items() if _says_something(one)})
            known |= fresh
        return [*ready, *(one.found(known[one.key]) for one in asked)]

    async def _open(self) -> None:
        await self._threads.open()

    async def _close(self) -> None:
        await self._threads.close()

    def _read_all(self, batch: Sequence[TreeFile]) -> tuple[list[Found], list[_Read]]:
        ready: list[Found] = []
        asked: list[_Read] = []
        for file in batch:
            match _read(self._root, file, self._clock.time(), self._options.racy_age):
                case Found() as found:
                    ready.append(found)
                case _Read() as read:
                    asked.append(read)
        return ready, asked


_LATE = "the analysis takes too long: {} of {} files are done and kept, ask again for the others"


def in_batches(files: Sequence[TreeFile], options: RepositoryOptions) -> Iterator[list[TreeFile]]:
    """The files in their order, parted so that no batch of several is beyond the bounds."""
    batch: list[TreeFile] = []
    room = options.batch_bytes
    for file in files:
        # Of one that is larger nothing is read.
        size = file.stamp.size if file.stamp.size <= MAX_ANALYSED else 0
        if batch and (size > room or len(batch) == options.batch_files):
            yield batch
            batch, room = [], options.batch_bytes
        batch.append(file)
        room -= size
    if batch:
        yield batch


def _says_something(analysis: FileAnalysis) -> bool:
    """Whether to keep it: not what stands for a file on which a worker was lost."""
    return not analysis.is_broken or bool(analysis.definitions or analysis.references)


def _read(root: Root, file: TreeFile, moment: float, racy_age: float) -> Found | _Read | None:
    """The file as it is now; None where there is none any more."""
    if file.stamp.size > MAX_ANALYSED:
        return _skipped(file, file.stamp, "huge")
    try:
        return _opened(root, file.path, moment, racy_age)
    except NotFoundError:
        return None
    except RequestError as error:
        # Larger meanwhile, or no file any more: the next look sees what it is.
        reason: SkipReason = "huge" if error.status == 413 else "unreadable"
    except FairleadError:
        reason = "unreadable"
    return _skipped(file, file.stamp, reason)


def _skipped(file: TreeFile, stamp: Stamp, reason: SkipReason) -> Found:
    return Found(file.path, stamp, reason, False, FileAnalysis(None, skipped=reason))


def _opened(root: Root, path: str, moment: float, racy_age: float) -> Found | _Read:
    handle = root.open_file(path.split("/"))
    try:
        with translated(path):
            stamp = stamp_of(os.fstat(handle))
            head = os.pread(handle, _LOOKED_AT, 0)
            wanted = is_manifest(path) or language_of_content(path, head) is not None
            if is_binary(head) or not wanted:
                return _unread(path, stamp, is_young(stamp, moment, racy_age), head)
            content, is_settled = read_handle(handle, path, MAX_ANALYSED)
    finally:
        os.close(handle)
    young = is_young(content.stamp, moment, racy_age) or not is_settled
    language = language_of_content(path, content.data)
    if language is None:
        return Found(path, content.stamp, content.digest, young, FileAnalysis(None))
    key = f"{ANALYSIS_VERSION}:{language}:{content.digest}"
    return _Read(path, content.stamp, key, young, content.data)


def _unread(path: str, stamp: Stamp, young: bool, head: bytes) -> Found:
    """A file of whose content nothing is told but that it is text, or none."""
    if is_binary(head):
        return Found(path, stamp, "binary", young, FileAnalysis(None, skipped="binary"))
    return Found(path, stamp, "", young, FileAnalysis(None))

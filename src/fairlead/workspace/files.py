"""`FileSystemCache`: the files of a workspace from memory, never other than they are on the disk.

The truth is what stat says, and it is asked at every read: a content is given again only where
every directory and symlink on the way and the file's whole stamp are what they were when it was
read. Three things stat cannot tell. A write within the grain of the file system's clock: so a file
that was young when it was read is read again. A write through a shared memory mapping, which the
kernel stamps only when it first touches a page: one that goes on for longer than `racy_age` is seen
when the kernel has written the page out. And what a network file system's own client has not heard
of yet.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.lru import Memo
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.core.worker import LateError, WorkerThread
from fairlead.errors import RequestError, StorageUnavailableError
from fairlead.workspace.base import Content, FileInfo, TextRange
from fairlead.workspace.content import lines_of
from fairlead.workspace.fileoptions import FileCacheOptions, FileCacheStatistics
from fairlead.workspace.globbing import Globs
from fairlead.workspace.globs import GlobResult
from fairlead.workspace.hints import Hints
from fairlead.workspace.keeping import Kept, small_part
from fairlead.workspace.paths import Root, split_path
from fairlead.workspace.reading import Reading
from fairlead.workspace.reads import CachedReads
from fairlead.workspace.search import Searcher, SearchQuery, SearchResult
from fairlead.workspace.threads import Threads
from fairlead.workspace.watch import Listen, Watcher
from fairlead.workspace.writing import Condition, write_file

_DEFAULTS = FileCacheOptions()
_INLINE_TEXT = 128 * 1024
"""Bytes of a text that is decoded on the event loop."""

logger = logging.getLogger("fairlead.workspace.files")


class FileSystemCache(Resource):
    """Reads, lists and writes what lies beneath one directory; belongs to one event loop.

    Paths are relative, with `/`; none of them leaves the directory. Errors: `RequestError` 400 for
    what can be no path, 404 (`NotFoundError`), 403 (`ForbiddenError`), 409 for a directory where a
    file is meant and the other way round, 413 for too large a file, `StorageError`,
    `StorageUnavailableError` where the directory is away or the disk does not answer,
    `CapacityError` where too many wait, `ClosedError`.

    >>> import asyncio, tempfile
    >>> async def main(directory):
    ...     async with FileSystemCache(Path(directory)) as files:
    ...         written = await files.write("notes/today.txt", b"one\\ntwo\\n")
    ...         await files.write("notes/today.txt", b"one\\n2\\n", if_match=written.etag)
    ...         return await files.read_text("notes/today.txt", first=2)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     asyncio.run(main(directory)).text
    '2\\n'
    """

    def __init__(
        self,
        path: Path,
        *,
        options: FileCacheOptions = _DEFAULTS,
        clock: Clock = SYSTEM_CLOCK,
        listen: Listen | None = None,
    ) -> None:
        """`listen` brings notifications of changes: the system's own unless given."""
        self.root = Root(path)
        self._options = options
        self._clock = clock
        self._listen = listen
        self._kept = Kept(options)
        self._globs = Globs(
            self.root, clock, max_age=options.glob_age, max_bytes=small_part(options)
        )
        self._tasks = TaskOwner(log_failure)
        self._writer = WorkerThread("workspace-write", options.max_writes)
        self._encodings: Memo[str, str] = Memo(4096)
        self._writes = 0
        self._threads = Threads(
            "workspace-read", options.threads, options.max_waiting, options.deadline
        )
        self._reads = CachedReads(
            self.root, self._kept, options, clock, tasks=self._tasks, threads=self._threads
        )
        self._searcher = Searcher(path, self.read)
        self._watcher: Watcher | None = None

    # ---- reading

    async def read(self, path: str) -> Content:
        """The whole content of a file, as it is now."""
        self.check_open()
        return await self._reads.read(path)

    async def read_text(
        self, path: str, first: int | None = None, last: int | None = None
    ) -> TextRange:
        """Lines of a text file, numbered from 1, `first` and `last` included.

        Raises `RequestError` 415 for what is no text, 422 for a range that is none.
        """
        content = await self.read(path)
        encoding = self._encodings.get(content.digest)
        if encoding is not None and len(content.data) <= _INLINE_TEXT:
            return lines_of(content, first, last, encoding)
        lines = await self._reads.on_disk(partial(lines_of, content, first, last, encoding))
        self._encodings.put(content.digest, lines.encoding)
        return lines

    async def stat(self, path: str) -> FileInfo:
        """What a path leads to, as it is now."""
        self.check_open()
        return await self._reads.stat(path)

    # ---- finding

    async def glob(
        self, pattern: str, *, hidden: bool = False, ignored: bool = False, limit: int = 1000
    ) -> GlobResult:
        """The first `limit` paths that match, sorted.

        `hidden` with those that begin with a dot, `ignored` with those that `.gitignore` names.
        Raises `RequestError` 422 for what is no pattern.
        """
        self.check_open()
        if limit < 1:
            raise RequestError(422, "the limit must be at least 1", param="limit", code="limit")
        find = partial(
            self._globs.find,
            pattern,
            hidden=hidden,
            ignored=ignored,
            limit=limit,
            deadline=self._options.deadline,
        )
        return await self._reads.on_disk(find)

    async def search(self, query: SearchQuery) -> SearchResult:
        """Lines in which a text is found; see `Searcher.search`."""
        self.check_open()
        await self._reads.on_disk(_nothing)  # the root is there, or this says that it is not
        return await self._searcher.search(query)

    # ---- writing

    async def write(
        self,
        path: str,
        data: bytes,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Content:
        """Make `data` the file's content, at once and on the disk; directories are made as needed.

        The permissions stay, a new file gets 0644 less the umask. `if_match` is the entity tag of
        the content that it replaces, or `*` for any; with `if_none_match` it must be a new file.
        Raises `RequestError` 412 where that does not hold, `StorageFullError` where nothing was
        written for want of room. A write goes on where its caller is cancelled.
        """
        self.check_open()
        parts = split_path(path)
        condition = Condition(if_match, if_none_match)
        limit = self._options.max_file_bytes
        moment = self._clock.time()

        def job() -> Reading:
            self.root.mount()
            return write_file(self.root, parts, data, condition, limit)

        try:
            reading = await self._writer.run(job, self._options.deadline)
        except LateError as error:
            raise StorageUnavailableError("the disk did not take it in time") from error
        finally:
            self._reads.notice_mount()
        self._writes += 1
        self._reads.keep(reading, moment)
        return reading.content

    def statistics(self) -> FileCacheStatistics:
        """What it keeps and has done."""
        reads, counts, kept = self._reads, self._reads.counts, self._kept
        return FileCacheStatistics(
            hits=reads.hits,
            misses=counts["misses"],
            shared=counts["shared"],
            reads=counts["reads"],
            unchanged=counts["unchanged"],
            writes=self._writes,
            bytes=kept.bytes + self._globs.bytes,
            entries=len(kept.contents),
            evictions=kept.contents.evictions,
            dropped=counts["dropped"],
            glob_hits=self._globs.hits,
            glob_misses=self._globs.misses,
            watcher=self._watcher.state if self._watcher else "off",
        )

    # ---- opening and closing

    async def _open(self) -> None:
        await asyncio.to_thread(self.root.open)
        await self._threads.open()
        await self._tasks.open()
        self._writer.start()
        if self._options.watch:
            self._watch()

    def _watch(self) -> None:
        self._watcher = Watcher(
            Hints(self.root, self._kept, self._globs, self._reads.drop),
            self._clock,
            max_watched=self._options.max_watched,
            max_changes=self._options.max_changes,
            listen=self._listen,
        )
        self._tasks.spawn(self._watcher.run(), "watch a workspace")

    async def _close(self) -> None:
        await self._tasks.close()
        self._watcher = None
        await self._threads.close()
        self._kept.clear()
        self._globs.drop()
        # While a thread works, the handle stays open: its number would come to mean another file.
        last = self.root.close if self._threads.have_ended else _nothing
        try:
            await self._writer.stop(last, self._options.deadline)
        except LateError:
            logger.warning("a write to %s has not ended yet", self.root.path)


def _nothing() -> None: ...

"""`RepositoryAnalysisCache`: maps of a repository from what is known of its files already.

Every call looks at the whole tree: its names, every file's stamp and HEAD. Where all are what they
were, the map that was made then is given again. Else the files that differ are read, and those
whose content nobody has seen before, in this clone or another, are analysed. So an edit costs one
file, a change of branch what differs between the two, and a second clone nothing but its reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import RequestError
from fairlead.workspace.analysed import Analysed
from fairlead.workspace.analyses import MemoryAnalysisStore
from fairlead.workspace.analysing import AnalysisWorkers
from fairlead.workspace.base import (
    Analyse,
    AnalysisStore,
    DependencyGraph,
    Progress,
    RepositoryMap,
)
from fairlead.workspace.focus import checked_focus
from fairlead.workspace.gathering import Gathering
from fairlead.workspace.mapoptions import RepositoryOptions, RepositoryStatistics
from fairlead.workspace.paths import Root
from fairlead.workspace.render import check_tokens
from fairlead.workspace.threads import Threads
from fairlead.workspace.turns import Listener, Turns
from fairlead.workspace.versioned import Versioned

MAX_PATHS = 1000
"""Whose dependencies can be asked for at once."""

_DEFAULTS = RepositoryOptions()
_MAX_WAITING = 1000


class RepositoryAnalysisCache(Resource):
    """Maps and dependencies of the repository in one directory; belongs to one event loop.

    Calls that come at the same time share one look at the tree; a call that is cancelled stops
    nobody else, and the last one that is stops the analysis. Errors: `RequestError` 422 for a
    budget or focus that is none, 413 for a tree of too many files; `StorageUnavailableError` where
    the directory is away; `CapacityError` where the analysis does not end in time (what is done is
    kept: ask again); `ClosedError`.

    >>> import asyncio, tempfile
    >>> async def main(directory):
    ...     (directory / "greet.py").write_text("def greet(name):\\n    return name\\n")
    ...     async with RepositoryAnalysisCache(directory) as repository:
    ...         return await repository.map(tokens=100, focus=["greet"])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     print(asyncio.run(main(Path(directory))).text)
    greet.py:
     def greet(name):
    <BLANKLINE>
    """

    def __init__(
        self,
        path: Path,
        *,
        store: AnalysisStore | None = None,
        analyse: Analyse | None = None,
        options: RepositoryOptions = _DEFAULTS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`store` and `analyse` may serve many repositories; who made them opens and closes them.

        Without them it keeps analyses in memory and has worker processes of its own.
        """
        self.root = Root(path)
        self._workers = AnalysisWorkers(clock=clock)
        self._has_workers = analyse is None
        self._options = options
        self._gathering = Gathering(
            self.root, store or MemoryAnalysisStore(), analyse or self._workers, options, clock
        )
        self._analysed = Analysed(self.root, options, clock)
        # One thread: what is known is not for several at a time.
        self._thread = Threads("repository", 1, _MAX_WAITING, options.step_deadline)
        self._tasks = TaskOwner(log_failure)
        self._turns = Turns(self._refresh, self._tasks, "repository look")
        self._maps: Versioned[RepositoryMap] = Versioned(
            self._thread, options.max_maps, options.max_map_bytes, _map_bytes
        )
        self._graphs: Versioned[DependencyGraph] = Versioned(
            self._thread, options.max_maps, options.max_map_bytes, _graph_bytes
        )
        self._looks = self._unchanged = 0

    async def map(
        self,
        tokens: int = 2000,
        focus: Sequence[str] = (),
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> RepositoryMap:
        """The most important signatures, in at most `tokens` tokens.

        `focus` raises files (paths, directories, globs), identifiers and what has words in common
        with it. `progress` hears how far an analysis is, where there is one.
        """
        self.check_open()
        key = (check_tokens(tokens), checked_focus(focus))
        version = await self._turns.take(progress)
        return await self._maps.get(key, version, partial(self._analysed.map, *key))

    async def dependencies(
        self,
        paths: Sequence[str] = (),
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> DependencyGraph:
        """Which file uses which; with `paths` only what these files and directories use.

        Raises `NotFoundError` for one that is not in the tree, `RequestError` 422 for too many.
        """
        self.check_open()
        key = _checked_paths(paths)
        version = await self._turns.take(progress)
        return await self._graphs.get(key, version, partial(self._analysed.dependencies, key))

    def statistics(self) -> RepositoryStatistics:
        """What it knows now."""
        known = self._analysed
        return RepositoryStatistics(
            head=known.head,
            files=known.files,
            skipped=dict(known.skipped),
            broken=known.broken,
            looks=self._looks,
            unchanged=self._unchanged,
            shared=self._turns.shared,
            read=self._gathering.read,
            found=self._gathering.found,
            analysed=self._gathering.analysed,
            map_hits=self._maps.hits,
            map_misses=self._maps.misses,
            maps=len(self._maps),
        )

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._thread)
            await stack.enter_async_context(self._gathering)
            if self._has_workers:
                await stack.enter_async_context(self._workers)
            await stack.enter_async_context(self._tasks)
            await self._thread.run(self.root.open)
            self._exit = stack.pop_all()

    async def _close(self) -> None:
        await self._exit.aclose()
        # While a thread works, the handle stays open: its number would come to mean another file.
        if self._thread.have_ended and self._gathering.has_ended:
            self.root.close()

    async def _refresh(self, tell: Listener) -> int:
        """Make what is known what the tree is; the version."""
        look = await self._thread.run(self._analysed.look)
        self._looks += 1
        found = await self._gathering.gather(look.changed, tell) if look.changed else ()
        before = self._analysed.version
        version = await self._thread.run(partial(self._analysed.absorb, look, found))
        self._unchanged += version == before
        return version

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<RepositoryAnalysisCache {self.root.path} {state}, {self._analysed.files} files>"


def _checked_paths(paths: Sequence[str]) -> tuple[str, ...]:
    if len(paths) > MAX_PATHS:
        message = f"at most {MAX_PATHS} paths can be asked for at once"
        raise RequestError(422, message, param="paths", code="paths")
    return tuple(dict.fromkeys(paths))


def _map_bytes(made: RepositoryMap) -> int:
    return len(made.text)


def _graph_bytes(made: DependencyGraph) -> int:
    """About: paths are shared with what is known of the files, imports are not."""
    uses = sum(len(paths) for paths in made.uses.values())
    texts = sum(len(text) for texts in made.unresolved.values() for text in texts)
    return 8 * uses + texts

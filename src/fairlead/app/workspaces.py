"""Workspaces of one process of a node: who may register which, and those that are open."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.identity import Principal
from fairlead.core.lifecycle import Resource
from fairlead.errors import CapacityError, ForbiddenError, RequestError
from fairlead.monitor.base import WorkspaceCounts
from fairlead.settings import Settings, is_loopback
from fairlead.workspace.analyses import ANALYSES_FILE, SqliteAnalysisStore
from fairlead.workspace.analysing import AnalysisWorkers
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache
from fairlead.workspace.registry import MAX_NAME, Workspace, WorkspaceRegistry, check_name
from fairlead.workspace.repository import RepositoryAnalysisCache

IDLE = 1800.0
"""Seconds after which a workspace that nobody uses is closed, when another is asked for."""

_log = logging.getLogger("fairlead.workspaces")


class OpenedWorkspace(Resource):
    """A workspace whose files and symbols can be asked for."""

    def __init__(self, files: FileSystemCache, repository: RepositoryAnalysisCache) -> None:
        self.files = files
        self.repository = repository
        self.users = 0
        """Who holds it now."""
        self.used = 0.0
        """When it was let go the last time, on the monotonic clock."""
        self._stack = AsyncExitStack()

    def done(self) -> Counter[str]:
        """How often what was done, by the words of `WorkspaceCounts.done`."""
        files, maps = self.files.statistics(), self.repository.statistics()
        return Counter(
            hit=files.hits,
            read=files.reads,
            write=files.writes,
            analysed=maps.analysed,
            analysis_found=maps.found,
            map_hit=maps.map_hits,
            map_made=maps.map_misses,
        )

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.files)
            await stack.enter_async_context(self.repository)
            self._stack = stack.pop_all()

    async def _close(self) -> None:
        await self._stack.aclose()


class Workspaces(Resource):
    """The registry, and at most so many workspaces open at a time; those in use stay open."""

    def __init__(self, settings: Settings, data_dir: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings.workspaces
        self._is_local = is_loopback(settings.server.host)
        self._data_dir = data_dir.resolve()
        self._clock = clock
        self._registry = WorkspaceRegistry(data_dir / "workspaces.sqlite", clock=clock)
        self._store = SqliteAnalysisStore(data_dir / ANALYSES_FILE, clock=clock)
        self._workers = AnalysisWorkers(clock=clock)
        self._opened: OrderedDict[str, OpenedWorkspace] = OrderedDict()
        self._opening = asyncio.Lock()
        self._past: Counter[str] = Counter()
        """What those that were closed have done."""
        self._stack = AsyncExitStack()

    # ---- the registry

    async def register(
        self, principal: Principal, path: str, name: str | None = None
    ) -> tuple[Workspace, bool]:
        """Make a directory a workspace of the caller's tenant; whether it is a new one.

        Raises `RequestError` 422 where it is no directory, 403 where it may not be one.
        """
        if name is not None:
            check_name(name)
        found = await asyncio.to_thread(self._checked, path)
        given = found.name[:MAX_NAME] if name is None else name
        return await self._registry.add(principal.tenant, principal.user, given, str(found))

    async def page(self, principal: Principal, after: str, limit: int) -> Sequence[Workspace]:
        """Those of the caller's tenant, the oldest first."""
        return await self._registry.page(principal.tenant, after, limit)

    async def remove(self, principal: Principal, identity: str) -> None:
        """Forget a workspace; its files stay as they are."""
        await self._registry.remove(principal.tenant, identity)
        async with self._opening:
            opened = self._opened.get(identity)
            if opened is not None and not opened.users:
                await self._close_one(identity)

    def _checked(self, path: str) -> Path:
        """The directory without symlinks, where it may be a workspace."""
        if "\0" in path or not path.startswith(("/", "~")):
            raise _wrong("use the absolute path of a directory on the node's machine")
        try:
            found = Path(path).expanduser().resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise _wrong("there is no such directory on the node's machine") from error
        if not found.is_dir() or not os.access(found, os.R_OK | os.X_OK):
            raise _wrong("it is no directory that the node can read")
        self._check_allowed(found)
        return found

    def _check_allowed(self, found: Path) -> None:
        data = self._data_dir
        if found == Path("/") or found.is_relative_to(data) or data.is_relative_to(found):
            raise ForbiddenError(f"{found} has the node's own data in it: use another directory")
        roots = [root.expanduser().resolve() for root in self.settings.roots]
        if roots and not any(found.is_relative_to(root) for root in roots):
            raise ForbiddenError(f"{found} is in none of the directories of workspaces.roots")
        if not roots and not self._is_local:
            raise ForbiddenError(
                "on an address that others can reach no directory may be registered: name in "
                "workspaces.roots the directories that may"
            )

    # ---- those in use

    @asynccontextmanager
    async def lease(self, principal: Principal, name: str | None) -> AsyncIterator[OpenedWorkspace]:
        """A workspace by id or name while it is used; None: the tenant's only one.

        Raises `NotFoundError` where the tenant has none of that name, `CapacityError` where all
        that may be open are in use.
        """
        workspace = await self._find(principal, name)
        opened = await self._take(workspace)
        try:
            yield opened
        finally:
            opened.users -= 1
            opened.used = self._clock.monotonic()

    async def _find(self, principal: Principal, name: str | None) -> Workspace:
        if name is not None:
            return await self._registry.get(principal.tenant, name)
        found = await self._registry.page(principal.tenant, "", 2)
        if len(found) == 1:
            return found[0]
        fix = "name the one that is meant" if found else "register one with POST /api/workspaces"
        count = "several workspaces" if found else "no workspace"
        raise RequestError(422, f"there are {count}: {fix}", param="workspace", code="workspace")

    async def _take(self, workspace: Workspace) -> OpenedWorkspace:
        self.check_open()
        async with self._opening:
            opened = self._opened.get(workspace.id)
            if opened is None:
                await self._make_room()
                opened = self._new(workspace)
                await opened.open()
                self._opened[workspace.id] = opened
            self._opened.move_to_end(workspace.id)
            opened.users += 1
            return opened

    def _new(self, workspace: Workspace) -> OpenedWorkspace:
        path, settings = Path(workspace.path), self.settings
        options = FileCacheOptions(
            max_bytes=settings.cache_bytes,
            max_file_bytes=settings.max_file_bytes,
            watch=settings.watch,
        )
        return OpenedWorkspace(
            FileSystemCache(path, options=options, clock=self._clock),
            RepositoryAnalysisCache(
                path, store=self._store, analyse=self._workers, clock=self._clock
            ),
        )

    async def _make_room(self) -> None:
        """Close what nobody has used for long, and the longest unused where there are too many."""
        now = self._clock.monotonic()
        idle = [name for name, opened in self._opened.items() if not opened.users]
        old = [name for name in idle if now - self._opened[name].used > IDLE]
        rest = [name for name in idle if name not in old]
        beyond = len(self._opened) - len(old) + 1 - self.settings.max_open
        for name in [*old, *rest[: max(0, beyond)]]:
            await self._close_one(name)
        if len(self._opened) >= self.settings.max_open:
            raise CapacityError("all workspaces that may be open are in use: try again later")

    def counts(self) -> WorkspaceCounts:
        """What those that are open have done, and what they hold."""
        opened = list(self._opened.values())
        done = sum((one.done() for one in opened), Counter(self._past))
        size = sum(one.files.statistics().bytes for one in opened)
        return WorkspaceCounts(opened=len(opened), bytes=size, done=done)

    # ---- opening and closing

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._registry)
            await stack.enter_async_context(self._store)
            await stack.enter_async_context(self._workers)
            stack.push_async_callback(self._close_all)
            self._stack = stack.pop_all()

    async def _close(self) -> None:
        await self._stack.aclose()

    async def _close_all(self) -> None:
        async with self._opening:
            for name, opened in list(self._opened.items()):
                if opened.users:
                    _log.warning("workspace %s is closed while it is used", name)
                await self._close_one(name)

    async def _close_one(self, name: str) -> None:
        opened = self._opened.pop(name)
        self._past.update(opened.done())
        await opened.close()


def _wrong(fix: str) -> RequestError:
    return RequestError(422, f"path cannot be used: {fix}", param="path", code="path")

"""What `/api` and the health endpoints ask of the node that they describe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from fairlead.conversations.database import ConversationDatabase
from fairlead.core.identity import Principal
from fairlead.gateway.base import PurgeSelector, StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.gateway.legs.base import Headers
from fairlead.monitor.export import Exposition
from fairlead.traffic.admission import QueueStatistics
from fairlead.traffic.base import ServerStatistics, State
from fairlead.workspace.files import FileSystemCache
from fairlead.workspace.registry import Workspace
from fairlead.workspace.repository import RepositoryAnalysisCache


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at to tell whether the node is ready."""

    name: str
    ok: bool
    detail: str = ""
    """In a few words what was found; free of secrets."""
    essential: bool = False
    """Whether the node can serve nothing without it. What is not essential (the persistent cache,
    an upstream) only degrades the node."""


class UpstreamView(msgspec.Struct, frozen=True, kw_only=True):
    """One server as it is configured and as it is now, in the process that answers."""

    name: str
    group: str
    """The configured entry that it belongs to."""
    shape: str
    base_url: str
    models: tuple[str, ...]
    server: ServerStatistics
    queue: QueueStatistics
    probe_error: str
    """Why the last health or metrics probe failed; empty where none did."""


class WorkspaceView(Protocol):
    """A workspace that is open."""

    @property
    def files(self) -> FileSystemCache:
        """Its files."""
        ...

    @property
    def repository(self) -> RepositoryAnalysisCache:
        """Its symbols."""
        ...


class WorkspaceRules(Protocol):
    """What is configured of workspaces and counts here."""

    @property
    def writable(self) -> bool:
        """Whether files may be written."""
        ...

    @property
    def max_file_bytes(self) -> int:
        """Of a file that is read or written."""
        ...


class WorkspacesView(Protocol):
    """The workspaces of the node, by who asks for them."""

    @property
    def settings(self) -> WorkspaceRules:
        """What is configured."""
        ...

    async def register(
        self, principal: Principal, path: str, name: str | None = None
    ) -> tuple[Workspace, bool]:
        """Make a directory a workspace; whether it is new. Raises `RequestError`."""
        ...

    async def page(self, principal: Principal, after: str, limit: int) -> Sequence[Workspace]:
        """Those behind an id, the oldest first."""
        ...

    async def remove(self, principal: Principal, identity: str) -> None:
        """Forget one; raises `NotFoundError`."""
        ...

    def lease(
        self, principal: Principal, name: str | None
    ) -> AbstractAsyncContextManager[WorkspaceView]:
        """One by id or name while it is used; None: the only one. Raises `RequestError`."""
        ...


class NodeView(Protocol):
    """The node as its web side sees it; implemented by the composition root."""

    @property
    def version(self) -> str:
        """The program's version."""
        ...

    @property
    def threads(self) -> ConversationDatabase:
        """Where conversations are."""
        ...

    @property
    def workspaces(self) -> WorkspacesView:
        """Directories that the node serves from cache."""
        ...

    @property
    def mcp(self) -> Any:
        """`/mcp` as an ASGI application."""
        ...

    def identify(self, headers: Headers) -> Principal:
        """Who asks. Raises `RequestError` (401) where the credentials are missing or wrong."""
        ...

    def checks(self) -> Sequence[Check]:
        """What readiness depends on, from what is known already: no call goes out for it.

        A node that shuts down says so with an essential check that is not ok.
        """
        ...

    async def render_metrics(self, accept: str) -> Exposition:
        """The metrics in the format that the `Accept` header asks for."""
        ...

    def cache_statistics(self) -> CacheStatistics:
        """What the response cache of this process holds and has done."""
        ...

    def store_statistics(self) -> StoreStatistics | None:
        """The same of its persistent tier; None where there is none."""
        ...

    def upstreams(self) -> Sequence[UpstreamView]:
        """Every server, in the order of the configuration."""
        ...

    def set_upstream_state(self, name: str, state: State) -> Sequence[UpstreamView]:
        """Drain the servers of an entry, or one server, or bring them back; these servers.

        Raises `RequestError` (404) where there is none of that name.
        """
        ...

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove cached answers; how many. Raises `CacheStoreError` where a tier is away."""
        ...

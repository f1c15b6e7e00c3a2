"""What `/api` and the health endpoints ask of the node that they describe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from fairlead.core.identity import Principal
from fairlead.gateway.base import PurgeSelector, StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.gateway.legs.base import Headers
from fairlead.monitor.export import Exposition


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at to tell whether the node is ready."""

    name: str
    ok: bool
    detail: str = ""
    """In a few words what was found; free of secrets."""
    essential: bool = False
    """Whether the node can serve nothing without it. What is not essential (the persistent cache,
    an upstream) only degrades the node."""


class NodeView(Protocol):
    """The node as its web side sees it; implemented by the composition root."""

    @property
    def version(self) -> str:
        """The program's version."""
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

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove cached answers; how many. Raises `CacheStoreError` where a tier is away."""
        ...

"""`/api/cache`: what the response cache holds and does, and purging it."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead.core.identity import Principal
from fairlead.gateway.base import PurgeSelector, StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.web.base import NodeView
from fairlead.web.problems import MEDIA_TYPE


class _FromRecord(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class MemoryTier(_FromRecord):
    """The memory tier."""

    entries: int
    bytes: int
    evictions: int
    expired: int


class PersistentTier(_FromRecord):
    """The persistent tier; -1 where a size is not known cheaply."""

    backend: str
    available: bool
    entries: int
    bytes: int
    max_bytes: int
    reads: int
    hits: int
    writes: int
    evictions: int
    failures: int


class InFlight(BaseModel):
    """Upstream calls that identical requests may join, and what is kept for latecomers."""

    calls: int
    bytes: int


class Hits(BaseModel):
    """Requests answered from each tier."""

    memory: int
    persistent: int


class CacheReport(BaseModel):
    """The response cache of the process that answers, since it was started."""

    memory: MemoryTier
    persistent: PersistentTier | None = Field(description="null where persistence is off")
    in_flight: InFlight
    hits: Hits
    misses: int
    collapsed: int = Field(description="requests that joined a call in flight")
    bypass: dict[str, int] = Field(description="requests that went past the cache, by reason")
    stored: int
    not_stored: dict[str, int] = Field(description="cacheable but not stored, by reason")
    persisted: int
    store_failures: int
    tokens_saved: int


class Purged(BaseModel):
    """How many entries were removed."""

    purged: int


class PurgeQuery(BaseModel):
    """Which entries to remove: those that match every field given, or `all=true` alone.

    An unknown parameter is refused, so that a misspelt one cannot widen a purge.
    """

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(
        None,
        pattern="^[0-9a-fA-F]{64}$",
        description="the entry's key, as hexadecimal digits",
    )
    model: str | None = Field(None, min_length=1, max_length=256)
    tenant: str | None = Field(None, min_length=1, max_length=256)
    everything: bool = Field(False, alias="all", description="purge every entry")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = any(field is not None for field in (self.key, self.model, self.tenant))
        if given == self.everything:
            raise ValueError("give key, model or tenant (or several of them), or all=true alone")
        return self


def cache_router(node: NodeView) -> APIRouter:
    """Statistics for every caller; purging within what the caller may see."""
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    router = APIRouter(
        prefix="/api/cache",
        tags=["cache"],
        responses={
            401: {"description": "Who asks is not known", **problem},
            422: {"description": "The request does not fit", **problem},
            503: {"description": "A tier is away; what could be reached was purged", **problem},
        },
    )

    async def caller(request: Request) -> Principal:
        return node.identify(request.scope["headers"])

    @router.get("", dependencies=[Depends(caller)])
    async def cache_statistics() -> CacheReport:
        """What the response cache holds, and how often it helped."""
        return report(node.cache_statistics(), node.store_statistics())

    @router.delete("")
    async def purge_cache(
        query: Annotated[PurgeQuery, Query()], principal: Annotated[Principal, Depends(caller)]
    ) -> Purged:
        """Remove cached answers: by key, model or tenant (all that are given must match), or all.

        A verified caller reaches only its own tenant's entries; another tenant's look as if they
        did not exist.
        """
        selector = select(query, principal)
        return Purged(purged=0 if selector is None else await node.purge(selector))

    return router


def report(cache: CacheStatistics, store: StoreStatistics | None) -> CacheReport:
    """Both tiers' statistics as one report."""
    return CacheReport(
        memory=MemoryTier.model_validate(cache),
        persistent=None if store is None else PersistentTier.model_validate(store),
        in_flight=InFlight(calls=cache.in_flight, bytes=cache.in_flight_bytes),
        hits=Hits(memory=cache.memory_hits, persistent=cache.persistent_hits),
        misses=cache.misses,
        collapsed=cache.collapsed,
        bypass=cache.bypassed,
        stored=cache.stored,
        not_stored=cache.not_stored,
        persisted=cache.persisted,
        store_failures=cache.store_failures,
        tokens_saved=cache.tokens_saved,
    )


def select(query: PurgeQuery, principal: Principal) -> PurgeSelector | None:
    """What `principal` may purge of what `query` asks for; None where that is nothing."""
    digest = None if query.key is None else bytes.fromhex(query.key)
    tenant = query.tenant
    if principal.verified:
        if tenant not in (None, principal.tenant):
            return None
        tenant = principal.tenant
    return PurgeSelector(digest=digest, model=query.model, tenant=tenant)

"""`ModelResponseCache`: answers in memory and in a persistent store, calls shared in flight.

The gateway uses it in steps (`plan`, `peek`, `find`, `follow`), so that a hit in memory costs no
await; a program of its own calls `get_or_call`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import orjson

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.core.ids import request_id
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import ErrorHandler, TaskOwner, log_failure
from fairlead.errors import CacheStoreError
from fairlead.gateway.base import CacheKey, ModelRequest, PurgeSelector, ResponseStore
from fairlead.gateway.caching import (
    VALUABLE_HITS,
    VALUABLE_TOKENS,
    CacheOptions,
    CacheStatistics,
    Hit,
    Plan,
    keep,
)
from fairlead.gateway.keys import (
    MODELS_PATH,
    MODELS_TTL,
    BodyDigests,
    Facts,
    bypass_reason,
    make_key,
    policy_for,
    read_directives,
    read_facts,
    scope_tag,
)
from fairlead.gateway.shapes import Shape, shape_of
from fairlead.gateway.stores.memory import MemoryEntry, MemoryTier
from fairlead.gateway.stream import Answer, Call, Flight, FlightBudget, Follower, WholeReply

MAX_PENDING_WRITES = 256
"""Writes to the persistent store under way at once; one more is dropped and counted."""

CLOSE_DEADLINE = 5.0
"""Seconds that `close` waits for them."""


class ModelResponseCache(Resource):
    """Two tiers of stored answers, and one upstream call for identical requests in flight.

    Memory is a least-recently-used map bounded by entries and bytes; `store` is the persistent
    tier (`SqliteResponseStore`, `RedisResponseStore`) or None. What is the same is decided by
    `fairlead.gateway.keys`; freshness and request directives follow RFC 9111.

    >>> import asyncio
    >>> async def main():
    ...     async def call():
    ...         return b'{"object": "list", "data": []}'
    ...     async with ModelResponseCache() as cache:
    ...         body = {"model": "m", "input": "some text"}
    ...         for _ in range(2):
    ...             await cache.get_or_call(body, call, path="/v1/embeddings")
    ...         return cache.statistics()
    >>> asyncio.run(main()).misses
    1
    """

    def __init__(
        self,
        options: CacheOptions | None = None,
        *,
        store: ResponseStore | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_error: ErrorHandler = log_failure,
    ) -> None:
        """`on_error(task name, exception)` hears of faults in background work."""
        self.options = options or CacheOptions()
        self._store = store
        self._clock = clock
        self._memory = MemoryTier(
            self.options.max_entries, self.options.max_bytes, self.options.ttl, clock
        )
        self._digests = BodyDigests()
        self._budget = FlightBudget(self.options.max_inflight_bytes)
        self._flights: dict[bytes, Flight] = {}
        self._calls: dict[Flight, Plan] = {}
        self._tasks = TaskOwner(on_error)
        self._writes: dict[asyncio.Task[None], CacheKey] = {}
        self._purges = 0
        self._counts: Counter[str] = Counter()
        self._bypassed: Counter[str] = Counter()
        self._not_stored: Counter[str] = Counter()

    async def _open(self) -> None:
        await self._tasks.open()
        if self._store is not None:
            self._store.listen(self._forget_selected)
            await self._store.open()

    async def _close(self) -> None:
        if self._writes:
            await asyncio.wait(self._writes, timeout=CLOSE_DEADLINE)
        await self._tasks.close()
        if self._store is not None:
            await self._store.close()
        self._flights.clear()
        self._calls.clear()

    def plan(
        self,
        request: ModelRequest,
        facts: Facts,
        shape: Shape,
        *,
        body: bytes | None = None,
        caller_credential: bytes | None = None,
    ) -> Plan:
        """Whether and under which key the answer may be cached.

        `body` is the decoded body where the request's own is content-coded. Raises `RequestError`
        for a malformed `x-fairlead-cache`.
        """
        directives = read_directives(request)
        policy = policy_for(facts.model, self.options.policy, self.options.policies)
        body = request.body if body is None else body
        reason = bypass_reason(request, facts, directives, policy, len(body))
        digest = None
        if reason is None:
            digest = self._digests.digest(body)
            reason = "ambiguous-body" if digest is None else None
        if reason is not None or digest is None:
            self._bypassed[reason or ""] += 1
            return Plan(None, reason or "", directives, None, shape)
        scope = scope_tag(request.principal, self.options.scope, caller_credential)
        key = make_key(request, shape.name, facts.model, scope, digest)
        max_age = directives.max_age
        lasting = request.path != MODELS_PATH
        if not lasting:
            max_age = MODELS_TTL if max_age is None else min(max_age, MODELS_TTL)
        return Plan(key, "", directives, max_age, shape, lasting)

    def peek(self, plan: Plan) -> Hit | None:
        """The answer from memory, without I/O."""
        if plan.key is None or plan.directives.no_cache:
            return None
        entry = self._memory.get(plan.key, plan.max_age)
        if entry is None:
            return None
        self._counts["memory_hits"] += 1
        self._counts["tokens_saved"] += entry.response.tokens
        if entry.hits > VALUABLE_HITS and not entry.persisted:
            self._persist(plan, entry)
        return Hit(entry.response, max(0.0, self._clock.time() - entry.response.created))

    async def find(self, plan: Plan) -> Hit | None:
        """The answer from the persistent store, promoted to memory; failures count as misses."""
        key, store = plan.key, self._store
        if key is None or store is None or plan.directives.no_cache or not plan.lasting:
            return None
        if key.digest in self._flights or not store.may_contain(key):
            return None
        purges = self._purges
        try:
            response = await store.get(key)
        except CacheStoreError:
            self._counts["store_failures"] += 1
            return None
        if response is None:
            # It may have come by another way while the store was asked.
            return self.peek(plan)
        if purges != self._purges:
            return None  # what was read may be what was purged meanwhile
        age = max(0.0, self._clock.time() - response.created)
        if age > self.options.ttl or (plan.max_age is not None and age > plan.max_age):
            return None
        self._memory.put(key, response, persisted=True)
        self._counts["persistent_hits"] += 1
        self._counts["tokens_saved"] += response.tokens
        return Hit(response, age)

    def follow(self, plan: Plan, call: Call) -> tuple[Follower, bool]:
        """Join the identical call in flight, or start `call`; True where one was joined.

        The answer is stored when it has ended well. With `no-cache` a fresh call is made.
        """
        self.check_open()
        if plan.key is None:
            raise ValueError("a plan without a key passes by the cache")
        digest = plan.key.digest
        flight = None if plan.directives.no_cache else self._flights.get(digest)
        if flight is not None:
            self._counts["collapsed"] += 1
            return flight.join(), True
        self._counts["misses"] += 1
        flight = Flight(self.options.max_entry_bytes, self._budget, self._sealed)
        self._calls[flight] = plan
        self._flights.setdefault(digest, flight)
        follower = flight.join()
        flight.start(call, self._tasks)
        return follower, False

    async def get_or_call(
        self,
        body: Mapping[str, object] | bytes,
        call: Callable[[], Awaitable[bytes]],
        *,
        path: str = "/v1/chat/completions",
        principal: Principal = LOCAL_PRINCIPAL,
    ) -> bytes:
        """The answer to the request `body` (JSON), from cache or by `call()`, shared in flight.

        `call` returns the whole body of a successful answer and raises `FairleadError` where it
        failed: then every waiter gets that error and nothing is stored.
        """
        raw = body if isinstance(body, bytes) else orjson.dumps(dict(body))
        request = ModelRequest(
            b"POST", path.encode(), b"", [], raw, principal, request_id(), self._clock.monotonic()
        )
        plan = self.plan(request, read_facts(raw), shape_of(request.path, request.headers))
        if plan.key is None:
            return await call()
        if hit := self.peek(plan) or await self.find(plan):
            return hit.response.body

        async def answer() -> Answer:
            headers = [(b"content-type", b"application/json")]
            return Answer("", WholeReply(200, headers, await call()))

        follower, _ = self.follow(plan, answer)
        try:
            await follower.head()
            return await follower.read_all()
        finally:
            follower.close()

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected from both tiers, everywhere; how many entries went.

        An answer in flight that is selected is delivered to those who wait, but not stored.
        """
        removed = self._forget_selected(selector)
        if self._store is None:
            return removed
        try:
            return max(removed, await self._store.purge(selector))
        except CacheStoreError:
            self._counts["store_failures"] += 1
            raise

    def statistics(self) -> CacheStatistics:
        """Counts since open, and what is held now."""
        counts, memory = self._counts, self._memory.statistics()
        return CacheStatistics(
            memory_hits=counts["memory_hits"],
            persistent_hits=counts["persistent_hits"],
            misses=counts["misses"],
            collapsed=counts["collapsed"],
            bypassed=dict(self._bypassed),
            stored=counts["stored"],
            not_stored=dict(self._not_stored),
            persisted=counts["persisted"],
            store_failures=counts["store_failures"],
            tokens_saved=counts["tokens_saved"],
            entries=memory.entries,
            bytes=memory.bytes,
            evictions=memory.evictions,
            expired=memory.expired,
            in_flight=len(self._calls),
            in_flight_bytes=self._budget.used,
        )

    @property
    def store(self) -> ResponseStore | None:
        """The persistent tier, if any."""
        return self._store

    def _forget_selected(self, selector: PurgeSelector) -> int:
        """Drop what is selected from memory and from the calls in flight; how many entries."""
        self._purges += 1
        for flight, plan in list(self._calls.items()):
            if plan.key is not None and selector.matches(plan.key):
                del self._calls[flight]
                self._forget(plan, flight)
        for write, key in self._writes.items():
            if selector.matches(key):
                write.cancel()  # it would bring back what is purged
        return self._memory.purge(selector)

    def _forget(self, plan: Plan, flight: Flight) -> None:
        if plan.key is not None and self._flights.get(plan.key.digest) is flight:
            del self._flights[plan.key.digest]

    def _sealed(self, flight: Flight) -> None:
        """Store what a flight brought; called when nobody may join it any more."""
        plan = self._calls.pop(flight, None)
        if plan is None or plan.key is None:
            self._not_stored["purged"] += 1
            return
        self._forget(plan, flight)
        body = flight.whole_body()
        if body is None:
            self._not_stored[_why_not_whole(flight)] += 1
            return
        now = self._clock.time()
        kept = keep(flight.status, flight.headers, body, plan.shape, now, flight.reading)
        if isinstance(kept, str):
            self._not_stored[kept] += 1
            return
        entry = self._memory.put(plan.key, kept)
        self._counts["stored"] += 1
        if self.options.persist == "all" or kept.tokens > VALUABLE_TOKENS:
            self._persist(plan, entry)

    def _persist(self, plan: Plan, entry: MemoryEntry) -> None:
        if self._store is None or plan.key is None or not plan.lasting or not self.is_open:
            return
        if self.options.persist == "off":
            return
        if len(self._writes) >= MAX_PENDING_WRITES:
            self._counts["store_failures"] += 1
            return
        entry.persisted = True
        write = self._write(self._store, plan.key, entry)
        task = self._tasks.spawn(write, "response cache write")
        self._writes[task] = plan.key
        task.add_done_callback(self._writes.pop)

    async def _write(self, store: ResponseStore, key: CacheKey, entry: MemoryEntry) -> None:
        try:
            await store.put(key, entry.response)
            self._counts["persisted"] += 1
        except CacheStoreError:
            # A later hit tries again.
            entry.persisted = False
            self._counts["store_failures"] += 1


def _why_not_whole(flight: Flight) -> str:
    if flight.error is not None:
        return "error"
    return "too-large" if flight.follower_count else "abandoned"

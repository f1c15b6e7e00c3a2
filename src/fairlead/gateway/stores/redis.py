"""The persistent tier in Redis or Valkey, shared by the nodes of a region (extra `redis`).

A cache only: while the server is away, requests are served without it and at no cost per request.
What it may hold is bounded by its own `maxmemory`; `allkeys-lru` is the policy that suits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.ids import request_id
from fairlead.core.lifecycle import Resource
from fairlead.core.retry import full_jitter
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import CacheStoreError, DependencyMissingError
from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse, StoreStatistics
from fairlead.gateway.stores.codec import pack, unpack

try:
    from redis import asyncio as redis_asyncio
    from redis.exceptions import RedisError
except ImportError as missing:
    raise DependencyMissingError("redis", "redis") from missing

T = TypeVar("T")

DEADLINE = 0.1
"""Seconds that one operation may take; a request waits no longer for the cache."""
CONNECT_DEADLINE = 2.0
PURGE_DEADLINE = 30.0
MAX_CONNECTIONS = 64
MAX_VALUE = 16 * 1024 * 1024
_SCAN = 500
_PAUSE_BASE, _PAUSE_CAP = 0.5, 15.0


class _Announcement(msgspec.Struct):
    sender: str
    selector: PurgeSelector


class RedisResponseStore(Resource):
    """A `ResponseStore` on a Redis or Valkey server.

    After a failure it is left alone for a while (full jitter); when it answers again, the listener
    is called with an empty selector, because purges may have been missed. `ttl` in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float = 3600.0,
        clock: Clock = SYSTEM_CLOCK,
        on_warning: Callable[[str], None],
        prefix: str = "fairlead:",
        deadline: float = DEADLINE,
    ) -> None:
        self.ttl = ttl
        self.deadline = deadline
        self._url = url
        self._clock = clock
        self._on_warning = on_warning
        self._prefix = prefix
        self._channel = f"{prefix}purge"
        self._sender = request_id()
        self._on_purge: Callable[[PurgeSelector], object] = _nobody
        self._client: Any = None
        self._tasks = TaskOwner(log_failure)
        self._attempts = 0
        self._closed_until = 0.0
        self._reads = self._hits = self._writes = self._failures = 0

    def listen(self, on_purge: Callable[[PurgeSelector], object]) -> None:
        """Call `on_purge` for purges by other nodes, and with an empty selector on reconnect."""
        self._on_purge = on_purge

    async def _open(self) -> None:
        # Blocking: a request waits for a free connection, within its deadline, and not for ever.
        pool = redis_asyncio.BlockingConnectionPool.from_url(
            self._url,
            max_connections=MAX_CONNECTIONS,
            timeout=self.deadline,
            socket_connect_timeout=CONNECT_DEADLINE,
            socket_timeout=None,
            decode_responses=False,
        )
        self._client = redis_asyncio.Redis(connection_pool=pool)
        await self._tasks.open()
        try:
            await self._guarded(self._client.ping, CONNECT_DEADLINE)
        except CacheStoreError as error:
            self._on_warning(f"the shared response cache is off for now: {error}")
        self._tasks.spawn(self._subscribe(), "response cache purges")

    async def _close(self) -> None:
        await self._tasks.close()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    def may_contain(self, key: CacheKey) -> bool:  # noqa: ARG002 - the server alone knows its keys
        """False while the server is left alone after a failure."""
        return self._clock.monotonic() >= self._closed_until

    async def get(self, key: CacheKey) -> StoredResponse | None:
        """The entry; raises `CacheStoreError` where the server does not answer in time."""
        self._reads += 1
        value = await self._guarded(lambda: self._client.get(self._name(key)), self.deadline)
        response = None if value is None else unpack(value, 8 * MAX_VALUE)
        if response is None or self._clock.time() - response.created > self.ttl:
            return None
        self._hits += 1
        return response

    async def put(self, key: CacheKey, response: StoredResponse) -> None:
        """Keep it until its time to live is over."""
        remaining = int((response.created + self.ttl - self._clock.time()) * 1000)
        value = pack(response)
        if remaining <= 0 or len(value) > MAX_VALUE:
            return
        await self._guarded(
            lambda: self._client.set(self._name(key), value, px=remaining), CONNECT_DEADLINE
        )
        self._writes += 1

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected, and tell the other nodes."""
        announcement = msgspec.msgpack.encode(_Announcement(self._sender, selector))
        pattern = self._pattern(selector)
        removed = await self._guarded(lambda: self._unlink(pattern), PURGE_DEADLINE)
        await self._guarded(
            lambda: self._client.publish(self._channel, announcement), CONNECT_DEADLINE
        )
        return removed

    async def _unlink(self, pattern: str) -> int:
        removed = 0
        names: list[bytes] = []
        async for name in self._client.scan_iter(match=pattern, count=_SCAN):
            names.append(name)
            if len(names) >= _SCAN:
                removed += await self._client.unlink(*names)
                names.clear()
        if names:
            removed += await self._client.unlink(*names)
        return removed

    def statistics(self) -> StoreStatistics:
        """Counts of this node; what the server holds it alone knows."""
        return StoreStatistics(
            backend="redis",
            available=self._attempts == 0,
            entries=-1,
            bytes=-1,
            max_bytes=-1,
            reads=self._reads,
            hits=self._hits,
            writes=self._writes,
            evictions=0,
            failures=self._failures,
        )

    def _name(self, key: CacheKey) -> str:
        return f"{self._prefix}r:{_short(key.tenant)}:{_short(key.model)}:{key.digest.hex()}"

    def _pattern(self, selector: PurgeSelector) -> str:
        tenant = "*" if selector.tenant is None else _short(selector.tenant)
        model = "*" if selector.model is None else _short(selector.model)
        digest = "*" if selector.digest is None else selector.digest.hex()
        return f"{self._prefix}r:{tenant}:{model}:{digest}"

    async def _guarded(self, operation: Callable[[], Awaitable[T]], deadline: float) -> T:
        if self._clock.monotonic() < self._closed_until:
            raise CacheStoreError("the shared response cache is away")
        try:
            async with asyncio.timeout(deadline):
                result = await operation()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed()
            raise CacheStoreError(f"the shared response cache: {_told(error)}") from error
        self._recovered()
        return result

    def _failed(self) -> None:
        self._failures += 1
        pause = full_jitter(self._attempts, _PAUSE_BASE, _PAUSE_CAP)
        self._attempts += 1
        self._closed_until = self._clock.monotonic() + pause

    def _recovered(self) -> None:
        if self._attempts:
            self._attempts = 0
            self._on_purge(PurgeSelector())

    async def _subscribe(self) -> None:
        """Follow other nodes' purges for as long as the store is open."""
        connected_before = False
        attempt = 0
        while True:
            pubsub = self._client.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(self._channel)
                if connected_before:
                    self._on_purge(PurgeSelector())
                connected_before, attempt = True, 0
                await self._deliver(pubsub)
            except (RedisError, OSError, TimeoutError):
                self._failures += 1
                await self._clock.sleep(full_jitter(attempt, _PAUSE_BASE, _PAUSE_CAP))
                attempt += 1
            finally:
                await pubsub.aclose()

    async def _deliver(self, pubsub: Any) -> None:
        while True:
            message = await pubsub.get_message(timeout=5.0)
            if message is None:
                # Quiet for a while: a connection that died without a word shows at a ping.
                await pubsub.ping()
            elif message["type"] == "message":
                self._heard(message["data"])

    def _heard(self, data: bytes) -> None:
        try:
            announcement = msgspec.msgpack.decode(data, type=_Announcement)
        except msgspec.MsgspecError:
            self._on_purge(PurgeSelector())  # of another version: to be safe, everything
            return
        if announcement.sender != self._sender:
            self._on_purge(announcement.selector)

    def __repr__(self) -> str:
        state = "away" if self._attempts else "available"
        return f"<RedisResponseStore {state}>"


def _short(text: str) -> str:
    # Names may hold any character, and patterns must not find what is meant literally.
    return sha256(text.encode()).hexdigest()[:16]


def _told(error: BaseException) -> str:
    # The library's messages name host and port, never the URL with its password.
    return f"{type(error).__name__} {error}".strip()


def _nobody(_selector: PurgeSelector) -> None:
    """Nobody listens."""

"""The persistent tier in Redis or Valkey, shared by the nodes of a region (extra `redis`).

A cache only: while the server is away, requests are served without it and at no cost per request.
What it may hold is bounded by its own `maxmemory`; `allkeys-lru` is the policy that suits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.ids import request_id
from fairlead.core.lifecycle import Resource
from fairlead.core.retry import full_jitter
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import CacheStoreError, ConfigurationError, DependencyMissingError
from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse, StoreStatistics
from fairlead.gateway.stores.codec import pack, unpack

try:
    from redis import asyncio as redis_asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError, ResponseError
except ImportError as missing:
    raise DependencyMissingError("redis", "redis") from missing

T = TypeVar("T")

DEADLINE = 0.1
"""Seconds that one operation may take; a request waits no longer for the cache."""
CONNECT_DEADLINE = 2.0
PURGE_DEADLINE = 30.0
PING_EVERY = 5.0
"""Seconds of silence after which the connection for announcements must answer a ping."""
MAX_CONNECTIONS = 64
MAX_VALUE = 16 * 1024 * 1024
PAUSE_BASE, PAUSE_CAP = 0.5, 15.0
"""Seconds that a server is left alone after a failure: full jitter between 0 and these."""

_SCAN = 500
_SMALL = 64 * 1024
_AWAY = (RedisError, OSError, TimeoutError)


class _Announcement(msgspec.Struct):
    sender: str
    selector: PurgeSelector


class RedisResponseStore(Resource):
    """A `ResponseStore` on a Redis or Valkey server.

    One connection follows the purges of other nodes, and only while it stands is the store used:
    when it comes back after a break, the listener is called with an empty selector, because purges
    may have been missed. After a failed operation the store rests for a while. `ttl` in seconds.
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
        """`on_warning(text)` hears when the server goes away; no text holds the URL's password."""
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
        self._tried = asyncio.Event()
        self._idle = asyncio.Event()
        self._under_way = 0
        self._connected = False
        self._lost = False
        self._failed_in_row = 0
        self._rests_until = 0.0
        self._reads = self._hits = self._writes = self._failures = 0

    def listen(self, on_purge: Callable[[PurgeSelector], object]) -> None:
        """Call `on_purge` for purges by other nodes, and with an empty selector on reconnect."""
        self._on_purge = on_purge

    # ---- opening and closing

    async def _open(self) -> None:
        self._tried.clear()
        self._client = redis_asyncio.Redis(connection_pool=self._make_pool())
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._disconnect)
            await stack.enter_async_context(self._tasks)
            self._tasks.spawn(self._stay_connected(), "response cache purges")
            # The first try has its own deadline.
            await self._tried.wait()
            stack.pop_all()

    def _make_pool(self) -> Any:
        scheme, _, rest = self._url.partition("://")
        try:
            # Blocking: a request waits for a free connection, within its deadline.
            pool = redis_asyncio.BlockingConnectionPool.from_url(
                f"{scheme.replace('valkey', 'redis')}://{rest}",
                max_connections=MAX_CONNECTIONS,
                timeout=self.deadline,
                socket_connect_timeout=CONNECT_DEADLINE,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, RedisError):
            # The library's own words could quote what stands where a password belongs.
            raise ConfigurationError(
                "cache.url", f"{scheme}://…", "cannot be read: percent-encode the password"
            ) from None
        return pool

    async def _close(self) -> None:
        await self._tasks.close()
        self._connected = False
        # The library does not survive that a connection in use is closed. Each operation has a
        # deadline, so this wait has one.
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        await self._disconnect()

    async def _disconnect(self) -> None:
        self._connected = False
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    # ---- the contract

    def may_contain(self, key: CacheKey) -> bool:  # noqa: ARG002 - the server alone knows its keys
        """False while the server is away, or rests after a failure."""
        return self._connected and self._clock.monotonic() >= self._rests_until

    async def get(self, key: CacheKey) -> StoredResponse | None:
        """The entry; raises `CacheStoreError` where the server does not answer in time."""
        self._reads += 1
        value = await self._ask(partial(self._client.get, self._name(key)), self.deadline)
        response = None if value is None else await _unpack(value)
        if response is None or self._clock.time() - response.created > self.ttl:
            return None
        self._hits += 1
        return response

    async def put(self, key: CacheKey, response: StoredResponse) -> None:
        """Keep it until its time to live is over.

        One whose packed form is over `MAX_VALUE` bytes is left out and counted as a failure.
        """
        remaining = int((response.created + self.ttl - self._clock.time()) * 1000)
        if remaining <= 0:
            return
        value = await _pack(response)
        if len(value) > MAX_VALUE:
            self._failures += 1
            return
        store = partial(self._client.set, self._name(key), value, px=remaining)
        await self._ask(store, CONNECT_DEADLINE)
        self._writes += 1

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected, and tell the other nodes."""
        try:
            async with asyncio.timeout(PURGE_DEADLINE):
                removed = await self._unlink(self._pattern(selector))
        except TimeoutError as error:
            self._failures += 1
            raise CacheStoreError("the shared response cache holds too much to purge") from error
        finally:
            # Also for a part: nobody keeps in memory what is gone here.
            announcement = msgspec.msgpack.encode(_Announcement(self._sender, selector))
            publish = partial(self._client.publish, self._channel, announcement)
            await self._ask(publish, CONNECT_DEADLINE)
        return removed

    async def _unlink(self, pattern: str) -> int:
        removed, cursor = 0, 0
        while True:
            scan = partial(self._client.scan, cursor, match=pattern, count=_SCAN)
            cursor, names = await self._ask(scan, CONNECT_DEADLINE)
            if names:
                removed += await self._ask(partial(self._client.unlink, *names), CONNECT_DEADLINE)
            if not cursor:
                return removed

    def statistics(self) -> StoreStatistics:
        """Counts of this node; what the server holds it alone knows."""
        return StoreStatistics(
            backend="redis",
            available=self._connected and self._failed_in_row == 0,
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
        prefix = "".join(f"\\{one}" if one in "*?[]^\\" else one for one in self._prefix)
        tenant = "*" if selector.tenant is None else _short(selector.tenant)
        model = "*" if selector.model is None else _short(selector.model)
        digest = "*" if selector.digest is None else selector.digest.hex()
        return f"{prefix}r:{tenant}:{model}:{digest}"

    # ---- failures of single operations

    async def _ask(self, operation: Callable[[], Awaitable[T]], deadline: float) -> T:
        if not self._connected or self._clock.monotonic() < self._rests_until:
            self._failures += 1
            raise CacheStoreError("the shared response cache is away")
        self._under_way += 1
        try:
            async with asyncio.timeout(deadline):
                result = await operation()
        except ResponseError as error:
            # It answered: out of memory, no permission. Other operations may go well.
            self._failures += 1
            raise CacheStoreError(f"the shared response cache: {_told(error)}") from error
        except _AWAY as error:
            self._rest()
            raise CacheStoreError(f"the shared response cache: {_told(error)}") from error
        finally:
            self._under_way -= 1
            self._idle.set()
        self._failed_in_row = 0
        return result

    def _rest(self) -> None:
        self._failures += 1
        now = self._clock.monotonic()
        if now >= self._rests_until:
            # Once for all that were under way: they fail together.
            self._rests_until = now + full_jitter(self._failed_in_row, PAUSE_BASE, PAUSE_CAP)
            self._failed_in_row += 1

    # ---- purges of other nodes

    async def _stay_connected(self) -> None:
        """Follow other nodes' purges for as long as the store is open."""
        attempt = 0
        while True:
            try:
                async with self._subscribed() as announcements:
                    attempt = 0
                    await self._follow(announcements)
            except _AWAY as error:
                self._went_away(error)
            await self._clock.sleep(full_jitter(attempt, PAUSE_BASE, PAUSE_CAP))
            attempt += 1

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[Any]:
        pubsub = self._client.pubsub()
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await pubsub.subscribe(self._channel)
                await _next(pubsub, CONNECT_DEADLINE)  # the confirmation
            self._came_back()
            yield pubsub
        finally:
            await pubsub.aclose()

    def _came_back(self) -> None:
        self._connected = True
        self._failed_in_row, self._rests_until = 0, 0.0
        self._tried.set()
        if self._lost:
            self._lost = False
            self._on_purge(PurgeSelector())

    def _went_away(self, error: BaseException) -> None:
        self._failures += 1
        if not self._lost:
            self._on_warning(f"the shared response cache is off for now: {_told(error)}")
        self._connected, self._lost = False, True
        self._tried.set()

    async def _follow(self, pubsub: Any) -> None:
        while True:
            message = await pubsub.get_message(timeout=PING_EVERY)
            if message is None:
                # A connection that died without a word shows when a ping stays unanswered.
                await pubsub.ping()
                message = await _next(pubsub, CONNECT_DEADLINE)
            if message["type"] == "message":
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
        return f"<RedisResponseStore {'available' if self._connected else 'away'}>"


async def _next(pubsub: Any, deadline: float) -> dict[str, Any]:
    message: dict[str, Any] | None = await pubsub.get_message(timeout=deadline)
    if message is None:
        raise TimeoutError("it does not answer")
    return message


async def _pack(response: StoredResponse) -> bytes:
    # What takes milliseconds does not hold up the event loop.
    return pack(response) if response.size < _SMALL else await asyncio.to_thread(pack, response)


async def _unpack(value: bytes) -> StoredResponse | None:
    if len(value) < _SMALL:
        return unpack(value, 8 * MAX_VALUE)
    return await asyncio.to_thread(unpack, value, 8 * MAX_VALUE)


def _short(text: str) -> str:
    # Names may hold any character, and patterns must not find what is meant literally.
    return sha256(text.encode()).hexdigest()[:16]


def _told(error: BaseException) -> str:
    # The library's messages name host and port, never the URL with its password.
    return f"{type(error).__name__} {error}".strip()


def _nobody(_selector: PurgeSelector) -> None:
    """Nobody listens."""

"""Records and contracts of the gateway: what it is asked, what it calls, what it tells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

import msgspec

from fairlead.core.identity import Principal
from fairlead.gateway.legs.base import Headers, Leg

Priority = Literal["critical", "high", "normal", "low"]


class ModelRequest(msgspec.Struct):
    """One request under `/v1/`, whole body received, free of any server's types.

    To be treated as frozen; only its own index of the header fields is made at first use.
    """

    method: bytes
    path: bytes
    """Raw (still percent-encoded) path without the query; begins with `/v1/`."""
    query: bytes
    """Raw query without its question mark; empty where there is none."""
    headers: Headers
    body: bytes
    principal: Principal
    request_id: str
    started: float
    """Monotonic seconds when its head had come."""

    index: dict[bytes, bytes] | None = None
    """Field name -> its first value; made by `header`."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case), or None."""
        if self.index is None:
            self.index = dict(reversed(self.headers))
        return self.index.get(name)

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the field `name` (lower case), in order."""
        if self.header(name) is None:
            return []
        return [value for key, value in self.headers if key == name]


class ResponseSink(Protocol):
    """Where an answer goes: the client's connection, or a recorder in tests.

    `start`, then any `write`s, then `finish` or `abort`. Nothing here parses or buffers beyond the
    transport's own buffer. When the client goes away, the task that answers is cancelled.
    """

    @property
    def closed(self) -> bool:
        """The client is gone, or the answer is finished."""
        ...

    def start(self, status: int, headers: Headers) -> None:
        """Begin the answer. `headers` holds no hop-by-hop field; a content-length only if known.

        Held back until the first `write` (which may be empty), so that small answers leave in
        one piece.
        """
        ...

    def write(self, data: bytes) -> bool:
        """Send `data` now; False where the client reads too slowly: then await `drain()`."""
        ...

    async def drain(self) -> None:
        """Wait until the client has taken enough; raises `ClientGoneError` if it takes nothing."""
        ...

    def finish(self) -> None:
        """The answer is complete."""
        ...

    def abort(self) -> None:
        """Break the answer off so that the client cannot take it for complete."""
        ...


class Ticket(Protocol):
    """One request's place among those that a server works on at a time."""

    waited: float
    """Seconds it stood in the queue; 0 where it went at once."""

    def first_byte(self) -> None:
        """The server has begun to answer; only the first call counts."""
        ...

    def overloaded(self) -> None:
        """The server said that it has too much to do."""
        ...

    def release(self) -> None:
        """The request is over, however it ended; idempotent."""
        ...


class Admission(Protocol):
    """The queue before one upstream."""

    async def open(self) -> None:
        """Make it ready."""
        ...

    async def close(self) -> None:
        """Refuse new requests and turn those who wait away; who has a ticket may finish."""
        ...

    def try_enter(self, priority: Priority) -> Ticket | None:
        """A ticket where one is free and nobody waits."""
        ...

    async def enter(self, flow: str, priority: Priority) -> Ticket:
        """Wait for a ticket among the waiting requests of all flows.

        Raises `QueueRefusedError` where the line is full or does not move in time. Cancelled, it
        leaves nothing behind.
        """
        ...


class Assignment(Protocol):
    """One request on its way to one server; counted as that server's load until `end`."""

    server: str
    account: int
    """Which of the server's API keys, from 0."""
    delay: float
    """Seconds to wait before it is sent: the back-off of a retry."""

    @property
    def valid(self) -> bool:
        """The server still takes requests; it may have been ejected or drained meanwhile."""
        ...

    def refused(self) -> None:
        """The queue before the server does not take it; nothing was sent."""
        ...

    def failed(self, *, sent: bool) -> None:
        """The connection failed or broke, before or after the answer's head."""
        ...

    def answered(self, status: int, retry_after: float | None) -> None:
        """The answer's head has come; `retry_after` in seconds, where it names a time."""
        ...

    def end(self) -> None:
        """The request is over; idempotent."""
        ...


class Balancer(Protocol):
    """Chooses server and account for a request, and again where the first choice fails."""

    def choose(
        self, session: str, model: str, among: Sequence[str], capabilities: Collection[str] = ()
    ) -> Assignment:
        """The place for a request of `session` among the named servers.

        Raises `UpstreamError` where none of them may be called now.
        """
        ...

    def again(self, assignment: Assignment) -> Assignment | None:
        """Where to try again after what `assignment` was told (`refused`, `failed`, `answered`).

        None: what it met stands. Asked only before the first byte went to the client.
        """
        ...


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """One model server or provider deployment, ready to be called."""

    name: str
    shape: str
    """`openai`, `anthropic` or `simulated` (which speaks both)."""
    base_path: str
    """Path of the configured base URL, without a trailing slash."""
    models: tuple[str, ...]
    """Patterns (`fnmatch`) of the models it serves."""
    keys: tuple[str, ...]
    """Its API keys; empty for a server without authentication."""
    credentials: str
    """`upstream`: the caller's credentials are replaced; `caller`: they are passed."""
    leg: Leg
    admission: Admission | None = None
    """The queue before it; None: as many at a time as its leg takes."""

    def parts(self) -> list[Leg | Admission]:
        """What is opened and closed with it; several records of one server may share them."""
        return [self.leg] if self.admission is None else [self.admission, self.leg]

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.shape} {', '.join(self.models)}>"


class CacheKey(msgspec.Struct, frozen=True):
    """What makes two requests the same, and what an entry may be purged by."""

    digest: bytes
    """SHA-256 over scope, shape, path, query, deciding headers and canonical body; 32 bytes."""
    tenant: str
    model: str


class StoredResponse(msgspec.Struct, frozen=True):
    """A complete answer as the upstream gave it (hop-by-hop and per-answer fields removed)."""

    status: int
    headers: Headers
    body: bytes
    created: float
    """Seconds since 1970 when it was stored first; the time to live counts from here."""
    tokens: int
    """Total tokens by the answer's own usage figures, or an estimate (an event, or four bytes)."""

    @property
    def size(self) -> int:
        """Bytes it occupies, about: body, headers and the objects around them."""
        fields = sum(len(name) + len(value) + 160 for name, value in self.headers)
        return len(self.body) + fields + 400


class PurgeSelector(msgspec.Struct, frozen=True):
    """Which entries to purge: those that match every field given; no field means all of them."""

    digest: bytes | None = None
    model: str | None = None
    tenant: str | None = None

    def matches(self, key: CacheKey) -> bool:
        """Whether the entry under `key` is selected."""
        return (
            (self.digest is None or self.digest == key.digest)
            and (self.model is None or self.model == key.model)
            and (self.tenant is None or self.tenant == key.tenant)
        )


class StoreStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a persistent store; `entries` and `bytes` are -1 where it cannot know them."""

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


class ResponseStore(Protocol):
    """The persistent tier of the response cache: `stores/sqlite.py`, `stores/redis.py`.

    A cache only: a failure raises `CacheStoreError`, is counted, and costs time, never an answer.
    """

    async def open(self) -> None:
        """Make it ready. A store that is away or damaged is reported and mended, never fatal."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and release."""
        ...

    def may_contain(self, key: CacheKey) -> bool:
        """False where the store knows, without I/O, that it has nothing under `key`."""
        ...

    async def get(self, key: CacheKey) -> StoredResponse | None:
        """The entry, unless there is none or its time to live is over."""
        ...

    async def put(self, key: CacheKey, response: StoredResponse) -> None:
        """Keep it, evicting the least recently used beyond the size bound."""
        ...

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected, here and in every process that shares the store; how many."""
        ...

    def listen(self, on_purge: Callable[[PurgeSelector], object]) -> None:
        """Call `on_purge` for purges by other processes, and with an empty selector when
        announcements may have been missed (a reconnect). Set once, before `open`."""
        ...

    def statistics(self) -> StoreStatistics:
        """Counts now."""
        ...


class UsageRecord(msgspec.Struct, kw_only=True):
    """What is known of one request when it has ended; filled as it goes, told once."""

    request_id: str
    principal: Principal
    method: str
    path: str
    shape: str = ""
    model: str = ""
    upstream: str = ""
    stream: bool = False
    status: int = 0
    outcome: str = "ok"
    """`ok`, `rejected` (by us), `upstream_error`, `upstream_broken`, `client_closed`."""
    cache: str = "none"
    """`hit`, `miss`, `collapsed`, `bypass`, or `none` where the cache was not asked."""
    cache_detail: str = ""
    error_kind: str = ""
    seconds: float = 0.0
    first_byte: float | None = None
    queued: float = 0.0
    """Seconds it stood in queues before it was sent."""
    request_bytes: int = 0
    response_bytes: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None


Recorder = Callable[[UsageRecord], None]
"""Told once per request, after its last byte; must not block and must not raise."""


class Tape(Protocol):
    """Keeps one exchange while it passes, by reference; nothing here waits, parses or raises."""

    def head(self, headers: Headers) -> None:
        """The answer begins; its header fields, as the upstream (or the cache) gave them."""
        ...

    def add(self, data: bytes) -> None:
        """The next piece of the answer, before the client gets it."""
        ...

    def end(self, usage: UsageRecord) -> None:
        """The exchange is over, and the client has its last byte; comes last, once."""
        ...


class Capture(Protocol):
    """Keeps what is said, off the client's path: `capture/recorder.py`."""

    def begin(self, request: ModelRequest, body: bytes) -> Tape | None:
        """The tape for an exchange whose request is accepted; None where it is not captured.

        `body` is the decoded body.
        """
        ...

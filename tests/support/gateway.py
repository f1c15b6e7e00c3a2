"""Fakes at the gateway's two ends: the client's connection, the upstream leg, the store."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.errors import CacheStoreError, FairleadError
from fairlead.gateway.base import (
    Admission,
    CacheKey,
    ModelRequest,
    PurgeSelector,
    StoredResponse,
    StoreStatistics,
    Upstream,
)
from fairlead.gateway.legs.base import Headers, LegRequest, LegStatistics

JSON: Headers = [(b"content-type", b"application/json")]
EVENTS: Headers = [(b"content-type", b"text/event-stream")]


def make_request(
    body: bytes = b"",
    *,
    path: bytes = b"/v1/chat/completions",
    method: bytes = b"POST",
    query: bytes = b"",
    headers: Headers | None = None,
    principal: Principal = LOCAL_PRINCIPAL,
) -> ModelRequest:
    """A model request whose head came at second 0 of the clock."""
    return ModelRequest(method, path, query, headers or [], body, principal, "request-1", 0.0)


class RecordingSink:
    """A `ResponseSink` that keeps what it is given and holds the caller to the contract."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.finished = False
        self.aborted = False
        self.gone = False
        self.slow = False
        """`write` answers False, so that the caller has to `drain`."""
        self.drained = asyncio.Event()
        """What `drain` waits for."""
        self.drain_error: FairleadError | None = None
        self.writes = asyncio.Semaphore(0)

    @property
    def closed(self) -> bool:
        """The client is gone, or the answer has ended."""
        return self.gone or self.finished or self.aborted

    @property
    def body(self) -> bytes:
        """Everything written."""
        return b"".join(self.pieces)

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field, or None."""
        return next((value for key, value in self.headers if key == name), None)

    def start(self, status: int, headers: Headers) -> None:
        """Allowed once."""
        assert not self.status, "started twice"
        assert not self.closed, "started after its end"
        self.status, self.headers = status, list(headers)

    def write(self, data: bytes) -> bool:
        """Allowed between start and the end; what a client that has gone would get is lost."""
        assert self.status, "written before the start"
        assert not self.finished, "written after the end"
        assert not self.aborted, "written after the abort"
        if not self.gone:
            self.pieces.append(data)
            self.writes.release()
        return not self.slow

    async def drain(self) -> None:
        """Wait for `drained`."""
        if self.drain_error is not None:
            raise self.drain_error
        await self.drained.wait()

    def finish(self) -> None:
        """Allowed once."""
        assert self.status, "finished before the start"
        assert not self.finished, "ended twice"
        assert not self.aborted, "ended twice"
        self.finished = True

    def abort(self) -> None:
        """Allowed once."""
        assert not self.finished, "ended twice"
        assert not self.aborted, "ended twice"
        self.aborted = True

    async def written(self) -> None:
        """Return when one more piece was written than was waited for so far."""
        await self.writes.acquire()


class ScriptedReply:
    """A `LegReply` that is fed by the test, or holds its whole body from the start."""

    def __init__(
        self, status: int = 200, headers: Headers | None = None, body: bytes | None = None
    ) -> None:
        self.status = status
        self.headers: Headers = JSON if headers is None else headers
        self.closed = False
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._error: FairleadError | None = None
        self._changed = asyncio.Event()
        if body is not None:
            self.feed(body)
            self.end()

    def feed(self, *pieces: bytes) -> None:
        """The next pieces of the body come."""
        self._pieces.extend(piece for piece in pieces if piece)
        self._changed.set()

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._changed.set()

    def fail(self, error: FairleadError) -> None:
        """The body breaks off."""
        self._error = error
        self._changed.set()

    @property
    def waiting(self) -> int:
        """Pieces that were fed and not read."""
        return len(self._pieces)

    @property
    def complete(self) -> bool:
        """The whole body was read."""
        return self._ended and not self._pieces

    def read_nowait(self) -> bytes:
        """The next piece, if it has come."""
        return self._pieces.popleft() if self._pieces else b""

    async def read(self) -> bytes:
        """The next piece, or empty at the end."""
        assert not self.closed, "read after close"
        while True:
            if self._pieces:
                return self._pieces.popleft()
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Idempotent."""
        self.closed = True


Reaction = ScriptedReply | FairleadError | Callable[[LegRequest], ScriptedReply]


class ScriptedLeg:
    """A `Leg` that gives prepared answers in turn, the last one again and again."""

    def __init__(self, *reactions: Reaction) -> None:
        self.reactions = list(reactions)
        self.requests: list[LegRequest] = []
        self.replies: list[ScriptedReply] = []
        self.gate: asyncio.Event | None = None
        """Where set, no answer's head comes before it."""
        self.cancelled = 0
        self.is_open = False

    async def open(self) -> None:
        """Note it."""
        self.is_open = True

    async def close(self) -> None:
        """Note it."""
        self.is_open = False

    async def send(self, request: LegRequest) -> ScriptedReply:
        """The next reaction; waits for `gate`, and yields once in any case."""
        self.requests.append(request)
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        reaction = self.reactions.pop(0) if len(self.reactions) > 1 else self.reactions[0]
        if isinstance(reaction, FairleadError):
            raise reaction
        reply = reaction if isinstance(reaction, ScriptedReply) else reaction(request)
        self.replies.append(reply)
        return reply

    def statistics(self) -> LegStatistics:
        """Requests alone."""
        return LegStatistics(0, 0, 0, len(self.requests), 0, 0)

    @property
    def open_replies(self) -> int:
        """Answers that were neither read to their end nor closed."""
        return sum(not reply.closed and not reply.complete for reply in self.replies)


def make_upstream(
    leg: ScriptedLeg,
    *,
    name: str = "up-1",
    shape: str = "openai",
    base_path: str = "/v1",
    models: Sequence[str] = ("*",),
    keys: Sequence[str] = ("sk-node",),
    credentials: str = "upstream",
    admission: Admission | None = None,
) -> Upstream:
    """An upstream behind `leg`."""
    return Upstream(
        name=name,
        shape=shape,
        base_path=base_path,
        models=tuple(models),
        keys=tuple(keys),
        credentials=credentials,
        leg=leg,
        admission=admission,
    )


class FakeStore:
    """A `ResponseStore` in a dictionary; can be made to fail, and to wait."""

    def __init__(self) -> None:
        self.entries: dict[bytes, tuple[CacheKey, StoredResponse]] = {}
        self.failing = False
        self.get_gate: asyncio.Event | None = None
        self.put_gate: asyncio.Event | None = None
        self.gets = 0
        self.puts = 0
        self.puts_begun = 0
        self.on_purge: Callable[[PurgeSelector], object] | None = None
        self.is_open = False

    async def open(self) -> None:
        """Note it."""
        assert self.on_purge is not None, "listen comes before open"
        self.is_open = True

    async def close(self) -> None:
        """Note it."""
        self.is_open = False

    def may_contain(self, key: CacheKey) -> bool:
        """Exact, unless it fails: then it cannot know."""
        return self.failing or self.get_gate is not None or key.digest in self.entries

    async def get(self, key: CacheKey) -> StoredResponse | None:
        """What is there when it is asked, told after `get_gate`."""
        self.gets += 1
        found = self.entries.get(key.digest)
        if self.get_gate is not None:
            await self.get_gate.wait()
        self._check()
        return found[1] if found else None

    async def put(self, key: CacheKey, response: StoredResponse) -> None:
        """Keep it, after `put_gate`."""
        self.puts_begun += 1
        if self.put_gate is not None:
            await self.put_gate.wait()
        self._check()
        self.puts += 1
        self.entries[key.digest] = (key, response)

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what matches."""
        self._check()
        selected = [key for key, _ in self.entries.values() if selector.matches(key)]
        for key in selected:
            del self.entries[key.digest]
        return len(selected)

    def listen(self, on_purge: Callable[[PurgeSelector], object]) -> None:
        """Remember whom to tell."""
        self.on_purge = on_purge

    def statistics(self) -> StoreStatistics:
        """Entries alone."""
        return StoreStatistics(
            "fake", not self.failing, len(self.entries), 0, 0, self.gets, 0, self.puts, 0, 0
        )

    def _check(self) -> None:
        if self.failing:
            raise CacheStoreError("the store is away")


async def turns(count: int = 20) -> None:
    """Let the loop run what is ready, and what that makes ready, `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)

"""One upstream call followed by several clients: tee, follow, late joiners.

A `Flight` pulls an upstream's answer in a task of its own and keeps what has come, so that those
who join late first get everything from the start. Within its size bound it goes at the upstream's
pace; beyond the bound it can no longer be joined nor kept whole, and goes at the pace of its
slowest follower.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from fairlead.core.tasks import TaskOwner, attempt
from fairlead.errors import ClosedError
from fairlead.gateway.legs.base import Headers, LegReply
from fairlead.gateway.shapes.base import Reading

WINDOW = 1024 * 1024
"""Bytes that a flight beyond its bound runs ahead of its slowest follower."""
MERGE = 65_536
"""Bytes that a follower takes at a time, so that a late joiner does not hold the loop."""


class Answer(msgspec.Struct, frozen=True):
    """An upstream's reply and the name of the upstream that gave it."""

    upstream: str
    reply: LegReply


Call = Callable[[], Awaitable[Answer]]
"""Makes the upstream call; what it raises reaches everyone who follows."""


class WholeReply:
    """An answer that is there already, read like an upstream's reply."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    @property
    def complete(self) -> bool:
        """The body was handed out."""
        return not self._body

    def read_nowait(self) -> bytes:
        """The whole body at the first call, then nothing."""
        body, self._body = self._body, b""
        return body

    async def read(self) -> bytes:
        """The same; it never has to wait."""
        return self.read_nowait()

    def close(self) -> None:
        """Forget the body."""
        self._body = b""


class FlightBudget:
    """Bytes that all flights together may keep."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; False where they are not to be had."""
        if self.used + size > self.max_bytes:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        """Release bytes taken before."""
        self.used -= size


class Flight:
    """An upstream call in progress; lives in one event loop.

    `on_sealed` is called once, as soon as nobody may join any more: the call ended, failed,
    outgrew `max_bytes` (or the budget), or its last follower left.
    """

    def __init__(
        self, max_bytes: int, budget: FlightBudget, on_sealed: Callable[[Flight], None]
    ) -> None:
        self.status = 0
        self.headers: Headers = []
        self.upstream = ""
        self.has_head = False
        self.ended = False
        self.sealed = False
        self.loop: asyncio.AbstractEventLoop
        self.error: Exception | None = None
        self.reading: Reading | None = None
        """What a follower that has read the whole answer found in it, to be read only once."""
        self._max_bytes = max_bytes
        self._budget = budget
        self._on_sealed = on_sealed
        self._followers: set[Follower] = set()
        self._chunks: list[bytes] = []
        self._dropped = 0
        self._kept = 0
        self._reserved = 0
        self._whole = True
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, call: Call, tasks: TaskOwner) -> None:
        """Begin the call in a task that `tasks` owns."""
        self.loop = tasks.loop
        self._task = tasks.spawn(self._run(call), "upstream call")
        self._task.add_done_callback(self._gone)

    def join(self) -> Follower:
        """Follow from the first byte on; only while not sealed."""
        if self.sealed:
            raise ClosedError("this call can no longer be joined")
        follower = Follower(self)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Stop following; when the last one leaves, the upstream call is cancelled."""
        self._followers.discard(follower)
        if self._followers:
            self._forget_passed()
        elif self.ended:
            if self.sealed:
                self._release()
        elif self._task is not None:
            self._whole = False
            self._seal()
            self._task.cancel()

    def whole_body(self) -> bytes | None:
        """The complete body; None while under way, after an error, or beyond the bound."""
        if not self.ended or self.error is not None or not self._whole:
            return None
        return b"".join(self._chunks)

    def failure(self) -> Exception:
        """What broke the call, to be raised by one more follower."""
        error = self.error or ClosedError("the call was given up")
        # One object for all of them: without this each would lengthen its traceback.
        return error.with_traceback(None)

    @property
    def follower_count(self) -> int:
        """How many clients follow now."""
        return len(self._followers)

    async def _run(self, call: Call) -> None:
        reply: LegReply | None = None
        # Whatever ends this task without a word was no proper end of the answer.
        error: Exception | None = ClosedError("the call was given up")
        try:
            answer, failure = await attempt(call())
            if answer is None:
                error = failure
            else:
                reply = answer.reply
                self.status, self.headers = reply.status, reply.headers
                self.upstream, self.has_head = answer.upstream, True
                _, error = await attempt(self._pull(reply))
        finally:
            if reply is not None:
                reply.close()
            self._end(error)

    def _gone(self, _task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs nothing, not even a `finally`.
        if not self.ended:
            self._end(ClosedError("the call was given up"))

    async def _pull(self, reply: LegReply) -> None:
        self._wake()
        while data := reply.read_nowait() or await reply.read():
            self._keep(data)
            self._wake()
            if not self._whole and self._kept > WINDOW:
                self._room.clear()
                await self._room.wait()

    def _end(self, error: Exception | None) -> None:
        self.error = error
        self.ended = True
        self._wake()
        if error is None and self._whole:
            # What is done with a whole answer (it is parsed) comes after the followers' turn; until
            # then it can still be joined, so that no second call begins in between.
            self.loop.call_soon(self._settle)
        else:
            self._settle()

    def _settle(self) -> None:
        self._seal()
        if not self._followers:
            self._release()

    def _keep(self, data: bytes) -> None:
        self._chunks.append(data)
        self._kept += len(data)
        if not self._whole:
            return
        if self._kept <= self._max_bytes and self._budget.take(len(data)):
            self._reserved += len(data)
        else:
            self._whole = False
            self._seal()

    def _seal(self) -> None:
        if not self.sealed:
            self.sealed = True
            self._on_sealed(self)

    def _wake(self) -> None:
        for follower in self._followers:
            follower.wake()

    def _release(self) -> None:
        # After the end and the last follower nobody reads on.
        self._chunks.clear()
        self._kept = 0
        self._give_back()

    def _give_back(self) -> None:
        # Beyond the bound, what is still held is still accounted for, until it is passed.
        self._budget.give_back(self._reserved - min(self._reserved, self._kept))
        self._reserved = min(self._reserved, self._kept)

    def _forget_passed(self) -> None:
        """Beyond the bound: drop what every follower has read."""
        if self._whole:
            return
        passed = min(follower.position for follower in self._followers) - self._dropped
        self._kept -= sum(map(len, self._chunks[:passed]))
        del self._chunks[:passed]
        self._dropped += passed
        self._give_back()
        if self._kept <= WINDOW:
            self._room.set()

    def take(self, follower: Follower) -> bytes:
        """What `follower` has not read yet, at most about `MERGE` bytes."""
        index = follower.position - self._dropped
        available = len(self._chunks) - index
        if available <= 0:
            return b""
        if available == 1:
            follower.position += 1
            data = self._chunks[index]
        else:
            data = self._merge(follower, index)
        if not self._whole:
            self._forget_passed()
        return data

    def _merge(self, follower: Follower, index: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while index < len(self._chunks) and (not pieces or size < MERGE):
            pieces.append(self._chunks[index])
            size += len(pieces[-1])
            index += 1
        follower.position += len(pieces)
        return b"".join(pieces)

    def passed_all(self, follower: Follower) -> bool:
        """The call has ended and `follower` has read everything."""
        return self.ended and follower.position - self._dropped >= len(self._chunks)


class Follower:
    """One client's view of a `Flight`, read like an upstream's reply."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.position = 0
        self._waiter: asyncio.Future[None] | None = None
        self._left = False

    @property
    def status(self) -> int:
        """The answer's status, once `head()` has returned."""
        return self.flight.status

    @property
    def headers(self) -> Headers:
        """The answer's header fields, once `head()` has returned."""
        return self.flight.headers

    @property
    def complete(self) -> bool:
        """The whole body has come and was handed out."""
        return self.flight.error is None and self.flight.passed_all(self)

    async def head(self) -> None:
        """Return when the answer's head has come; raises what the call raised."""
        while not self.flight.has_head:
            if self.flight.ended:
                raise self.flight.failure()
            await self._wait()

    def read_nowait(self) -> bytes:
        """What has come and was not handed out yet; empty where nothing has."""
        return self.flight.take(self)

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises what broke the call, after what came before."""
        while True:
            if data := self.flight.take(self):
                return data
            if self.flight.ended:
                if self.flight.error is not None:
                    raise self.flight.failure()
                return b""
            await self._wait()

    async def read_all(self) -> bytes:
        """The whole rest of the body."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Stop following; idempotent."""
        if not self._left:
            self._left = True
            self.flight.leave(self)

    def wake(self) -> None:
        """Something has changed: let a waiting read look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        # The flight's own deadlines (first byte, idle) end every wait: they end the call.
        self._waiter = self.flight.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

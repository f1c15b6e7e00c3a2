"""Many event streams at once, on one event loop: when the first event comes, how late each is."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

_STAMP = re.compile(rb"~T(\d{16})~")
_CONNECTING_AT_ONCE = 200
_CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """`connections` streams at a time, each connection asking `repeats` times, one after another.

    `request` makes the whole request of a stream from its number. The first requests are spread
    evenly over `ramp_seconds`. Before that, `idle` connections make one request, `idle_request`,
    and stay open. Everything ends after `deadline` seconds. Samples are due `sample_after` seconds
    after the first request.
    """

    url: str
    request: Callable[[int], bytes]
    events: int
    connections: int
    repeats: int = 1
    ramp_seconds: float = 0.0
    idle: int = 0
    idle_request: bytes = b""
    deadline: float = 60.0
    sample_after: float = 0.5


@dataclass
class Tally:
    """What came of a plan. Times are nanoseconds."""

    first_event: array[int] = field(default_factory=lambda: array("q"))
    delays: array[int] = field(default_factory=lambda: array("q"))
    streams: int = 0
    broken: int = 0
    seconds: float = 0.0
    idle_open: int = 0
    problems: set[str] = field(default_factory=set)

    @property
    def events(self) -> int:
        """Timed events that came, of all streams."""
        return len(self.delays)


class _StreamConnection(asyncio.Protocol):
    """Asks for a stream, and for the next when it is over."""

    def __init__(self, plan: Plan, tally: Tally, number: int) -> None:
        self._plan, self._tally, self._number = plan, tally, number
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._asked = 0
        self._began = 0
        self._came = 0
        self._tail = b""
        self._done_marker = False
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def ask(self) -> None:
        """Send the next request."""
        if self._transport is None or self.finished.done():
            return
        number = self._number * self._plan.repeats + self._asked
        self._asked += 1
        self._came, self._tail, self._done_marker = 0, b"", False
        request = self._plan.request(number)
        self._began = time.monotonic_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        now = time.monotonic_ns()
        data = self._tail + body if self._tail else body
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            self._tail = data
            return
        self._tail = data[end:]
        stamps = _STAMP.findall(data, 0, end)
        if not self._came and stamps:
            self._tally.first_event.append(now - self._began)
        self._came += len(stamps)
        self._tally.delays.extend([now - int(stamp) for stamp in stamps])
        self._done_marker = self._done_marker or b"[DONE]" in data

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200 or self._came != self._plan.events or not self._done_marker:
            self._fail(f"status {status} with {self._came} of {self._plan.events} events")
            return
        self._tally.streams += 1
        if self._asked < self._plan.repeats:
            self.ask()
        elif not self.finished.done():
            self.finished.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.finished.done():
            self._fail(f"closed after {self._came} events" + (f": {exc}" if exc else ""))

    def give_up(self) -> None:
        """Close; an unfinished stream counts as broken."""
        if not self.finished.done():
            self._fail(f"{self._came} of {self._plan.events} events at the deadline")
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, problem: str) -> None:
        if self.finished.done():
            return
        self._tally.broken += 1
        if len(self._tally.problems) < 5:
            self._tally.problems.add(problem)
        self.finished.set_result(None)


class _IdleConnection(asyncio.Protocol):
    """Makes one request and then stays open."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None
        self.answered = asyncio.get_running_loop().create_future()
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self.open = True
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's contract
        # The answer is small and comes in one piece; its content was checked before.
        if not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's contract
        self.open = False
        if not self.answered.done():
            self.answered.set_result(None)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()


class Load:
    """Runs a plan; `on_stage` is told `idle` when all is connected, and `live` amid the streams."""

    def __init__(self, plan: Plan, on_stage: Callable[[str], None]) -> None:
        self._plan, self._on_stage = plan, on_stage
        self._tally = Tally()
        self._idle: list[_IdleConnection] = []
        self._streams: list[_StreamConnection] = []

    def run(self) -> Tally:
        """Everything, within the plan's deadline."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, _no_collection():
            return runner.run(self._run())

    async def _run(self) -> Tally:
        try:
            async with asyncio.timeout(self._plan.deadline + 2 * _CONNECT_SECONDS):
                await self._connect()
                self._on_stage("idle")
                await self._stream()
        except TimeoutError:
            self._tally.problems.add("not over at the deadline")
        finally:
            self._close()
        return self._tally

    async def _connect(self) -> None:
        plan = self._plan
        idle = [_IdleConnection(plan.idle_request) for _ in range(plan.idle)]
        self._streams = [
            _StreamConnection(plan, self._tally, number) for number in range(plan.connections)
        ]
        for begin in range(0, len(idle), _CONNECTING_AT_ONCE):
            batch = idle[begin : begin + _CONNECTING_AT_ONCE]
            self._idle += batch
            await self._open(batch)
            await asyncio.gather(*(connection.answered for connection in batch))
        for begin in range(0, len(self._streams), _CONNECTING_AT_ONCE):
            await self._open(self._streams[begin : begin + _CONNECTING_AT_ONCE])

    async def _open(self, protocols: Sequence[asyncio.Protocol]) -> None:
        parts = urlsplit(self._plan.url)
        assert parts.hostname is not None, "the URLs here are complete"
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(
                loop.create_connection(partial(_itself, protocol), parts.hostname, parts.port or 80)
                for protocol in protocols
            )
        )

    async def _stream(self) -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        step = self._plan.ramp_seconds / max(1, len(self._streams))
        for at, connection in enumerate(self._streams):
            loop.call_later(at * step, connection.ask)
        loop.call_later(self._plan.sample_after, self._on_stage, "live")
        # Not a timeout around it: what is unfinished then is counted, not cancelled.
        finished = [connection.finished for connection in self._streams]
        await asyncio.wait(finished, timeout=self._plan.deadline)
        self._tally.seconds = time.monotonic() - began

    def _close(self) -> None:
        self._tally.idle_open = sum(connection.open for connection in self._idle)
        for stream in self._streams:
            stream.give_up()
        for idle in self._idle:
            idle.close()


def _itself(protocol: asyncio.Protocol) -> asyncio.Protocol:
    return protocol


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection within: its pauses would be taken for the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

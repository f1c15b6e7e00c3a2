"""One try at one server: what it holds there, and its answer as it is read."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.errors import UpstreamError
from fairlead.gateway.base import Assignment, Ticket, Upstream
from fairlead.gateway.caching import is_event_stream
from fairlead.gateway.legs.base import Headers, LegReply


class Lane:
    """One upstream and how much is on its way to it: it is let go of when nothing is any more."""

    __slots__ = ("_on_idle", "active", "attempts", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.active = 0
        self.attempts = 0
        """Requests sent since the start."""
        self._on_idle: Callable[[Lane], object] | None = None

    def retire(self, on_idle: Callable[[Lane], object]) -> None:
        """Nothing new will come: call `on_idle` as soon as nothing is on its way any more."""
        self._on_idle = on_idle
        self._tell()

    def enter(self) -> None:
        """One more request is on its way."""
        self.active += 1

    def leave(self) -> None:
        """One request less."""
        self.active -= 1
        self._tell()

    def _tell(self) -> None:
        if self.active == 0 and self._on_idle is not None:
            on_idle, self._on_idle = self._on_idle, None
            on_idle(self)

    def __repr__(self) -> str:
        return f"<Lane {self.upstream.name} {self.active} active>"


class Place:
    """What one try holds: a part of its server's load and, once admitted, a ticket."""

    __slots__ = ("_freed", "assignment", "lane", "ticket")

    def __init__(self, lane: Lane, assignment: Assignment) -> None:
        self.lane = lane
        self.assignment = assignment
        self.ticket: Ticket | None = None
        self._freed = False
        lane.enter()

    def free(self) -> None:
        """Give everything back; idempotent."""
        if self._freed:
            return
        self._freed = True
        if self.ticket is not None:
            self.ticket.release()
        self.assignment.end()
        self.lane.leave()


class Attempt:
    """A server's answer (`LegReply`) that frees its place as soon as it was read or is closed."""

    __slots__ = ("_awaits_first_byte", "_reply", "headers", "place", "status", "told")

    def __init__(self, reply: LegReply, place: Place) -> None:
        self.status = reply.status
        self.headers: Headers = reply.headers
        self.told = _told(reply.status, place.lane.upstream)
        """The status as far as it says something about the server."""
        self.place = place
        self._reply = reply
        # A plain answer comes when all of it is done, and a refusal before anything is.
        self._awaits_first_byte = (
            place.ticket is not None and reply.status < 400 and is_event_stream(reply.headers)
        )

    @property
    def complete(self) -> bool:
        """The whole body has come and was handed out."""
        return self._reply.complete

    def read_nowait(self) -> bytes:
        """What has come and was not handed out yet; empty for nothing."""
        data = self._reply.read_nowait()
        if data:
            self._read()
        return data

    async def read(self) -> bytes:
        """The next piece; empty at the end. A break is told to the balancer, then raised."""
        try:
            data = await self._reply.read()
        except UpstreamError:
            self.place.assignment.failed(sent=True)
            raise
        self._read()
        return data

    def close(self) -> None:
        """Give the answer up and free its place; idempotent."""
        self._reply.close()
        self.place.free()

    def _read(self) -> None:
        if self._awaits_first_byte and self.place.ticket is not None:
            self._awaits_first_byte = False
            self.place.ticket.first_byte()
        if self._reply.complete:
            # The server is done; a client that takes its time holds up nobody.
            self.place.free()


def _told(status: int, upstream: Upstream) -> int:
    # With the caller's own credential its refusals and limits are the caller's, nobody else's.
    of_the_caller = status in {401, 403, 429} and upstream.credentials == "caller"
    return 400 if of_the_caller else status

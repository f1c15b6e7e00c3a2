"""From a request to an upstream's answer: choose, admit, send, and again where that is right.

Which server, whether to try again and how long to wait before it is the balancer's to say; who may
go now is the admission's. Here their answers are put into effect, so that whatever happens, a
cancellation included, every ticket is released and every assignment ended once.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairlead.core.clock import Clock
from fairlead.core.retry import parse_retry_after
from fairlead.errors import (
    FairleadError,
    QueueRefusedError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamKeyError,
    UpstreamRestingError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from fairlead.gateway.attempt import Attempt, Lane, Place
from fairlead.gateway.base import (
    Admission,
    Assignment,
    Balancer,
    ModelRequest,
    Priority,
    Upstream,
    UsageRecord,
)
from fairlead.gateway.headers import forwarded
from fairlead.gateway.keys import DETERMINISTIC_PATHS, GENERATING_PATHS
from fairlead.gateway.legs.base import Leg, LegReply, LegRequest
from fairlead.gateway.routing import Routes
from fairlead.gateway.sessions import flow_of, session_of
from fairlead.gateway.stream import Answer

_KEY_REFUSED = frozenset({401, 403})
_OVERLOADED = frozenset({429, 503, 529})
_MAYBE_DONE = frozenset({502, 504})
_RETRIED = _KEY_REFUSED | _OVERLOADED | _MAYBE_DONE
"""Statuses after which the balancer is asked whether another try is right."""
LONGEST_REST = 10.0
"""Seconds that a request waits at most for servers that asked for a rest; else it is refused."""
LONGEST_WAIT = 60.0
"""Seconds in queues and rests after which a request goes where it is, whatever changes there."""
MAX_RESTING = 1000
"""Requests that wait so at a time."""

_HARMLESS_TWICE = GENERATING_PATHS | DETERMINISTIC_PATHS
"""A second answer costs money, but leaves nothing behind; other calls may create something."""


class Job(msgspec.Struct):
    """One request to be answered, and what decides where it goes."""

    request: ModelRequest
    body: bytes
    """Decoded, for reading only."""
    family: str
    model: str
    usage: UsageRecord
    priority: Priority = "normal"
    capabilities: tuple[str, ...] = ()
    known_session: str | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent again where it may have been carried out already."""
        return self.request.method == b"GET" or self.request.path in _HARMLESS_TWICE

    def session(self) -> str:
        """Whose warm prompt this is; read, at most once, where it is needed."""
        if self.known_session is None:
            self.known_session = session_of(self.request, self.body)
        return self.known_session

    def flow(self) -> str:
        """Between whom the queue is fair."""
        verified = self.request.principal.verified
        return flow_of(self.request, "" if verified else self.session())


class Dispatcher:
    """Sends jobs to upstreams; keeps one lane for each, also for those that are being replaced."""

    def __init__(
        self,
        balancer: Balancer,
        clock: Clock,
        *,
        on_gone: Callable[[Upstream], object],
    ) -> None:
        """`on_gone` is told of each upstream that was replaced and has become idle."""
        self._balancer = balancer
        self._clock = clock
        self._on_gone = on_gone
        self._resting = 0
        self._lanes: dict[str, Lane] = {}
        self._retired: set[Lane] = set()
        self._routes = Routes(())

    def replace(self, routes: Routes) -> None:
        """Serve by these from now on; what is on its way to others ends where it is."""
        self._routes, upstreams = routes, routes.upstreams
        before, self._lanes = self._lanes, {}
        for upstream in upstreams:
            lane = before.get(upstream.name)
            if lane is None or lane.upstream is not upstream:
                lane = Lane(upstream)
            self._lanes[upstream.name] = lane
        for name, lane in before.items():
            if self._lanes.get(name) is not lane:
                self._retire(lane)

    def _retire(self, lane: Lane) -> None:
        self._retired.add(lane)
        lane.retire(self._gone)

    def _gone(self, lane: Lane) -> None:
        self._retired.discard(lane)
        self._on_gone(lane.upstream)

    def parts(self) -> dict[int, Leg | Admission]:
        """The legs and queues that are configured or still in use, by identity."""
        lanes = [*self._lanes.values(), *self._retired]
        return {id(part): part for lane in lanes for part in lane.upstream.parts()}

    def attempts(self) -> dict[str, int]:
        """Requests sent to each upstream since it was configured as it is."""
        return {name: lane.attempts for name, lane in self._lanes.items()}

    async def dispatch(self, job: Job) -> Answer:
        """The answer of the upstream that gave one, good or bad.

        Raises the `UpstreamError` or `QueueRefusedError` of the last try where none did.
        """
        assignment = await self._choose(job)
        while True:
            met = await self._try(assignment, job)
            if met is None:
                assignment = await self._choose(job)
                continue
            following = self._balancer.again(assignment) if _is_open(met, job) else None
            if following is None:
                return _concluded(met)
            if isinstance(met, Attempt):
                met.close()
            assignment = following

    async def _choose(self, job: Job) -> Assignment:
        """A place, waited for where every server rests for a short while only."""
        patience = LONGEST_REST
        while True:
            # Asked anew each time: the configuration may have changed during the wait.
            candidates = self._routes.candidates(job.family, job.model)
            has_choice = len(candidates) > 1 or len(candidates[0].keys) > 1
            session = job.session() if has_choice else ""
            names = [upstream.name for upstream in candidates]
            try:
                return self._balancer.choose(session, job.model, names, job.capabilities)
            except UpstreamRestingError as error:
                if error.retry_after > patience or self._resting >= MAX_RESTING:
                    raise
                rest = error.retry_after
            patience -= rest
            await self._wait(rest, job)

    async def _wait(self, seconds: float, job: Job) -> None:
        self._resting += 1
        try:
            await self._clock.sleep(seconds)
        finally:
            self._resting -= 1
        job.usage.queued += seconds

    async def ask(self, request: ModelRequest, upstream: Upstream) -> LegReply:
        """The answer of this one upstream, past queue and balancer: for what costs it nothing."""
        for key in upstream.keys or (None,):
            reply = await self._send(request, upstream, key)
            if reply.status not in _KEY_REFUSED or upstream.credentials == "caller":
                return reply
            reply.close()
        raise UpstreamKeyError(upstream.name)

    async def _try(self, assignment: Assignment, job: Job) -> Attempt | FairleadError | None:
        """What a try met; None where nothing was sent, because the place is gone meanwhile."""
        place = Place(self._lanes[assignment.server], assignment)
        job.usage.upstream = assignment.server
        try:
            if assignment.delay > 0:
                await self._clock.sleep(assignment.delay)
            await self._admit(place, job)
            if not assignment.valid and job.usage.queued < LONGEST_WAIT:
                place.free()
                return None
            upstream = place.lane.upstream
            key = upstream.keys[assignment.account] if upstream.keys else None
            place.lane.attempts += 1
            reply = await self._send(job.request, upstream, key)
        except (QueueRefusedError, UpstreamBusyError) as error:
            assignment.refused()
            place.free()
            return error
        except (UpstreamUnreachableError, UpstreamBrokenError, UpstreamTimeoutError) as error:
            assignment.failed(sent=not isinstance(error, UpstreamUnreachableError))
            place.free()
            return error
        except BaseException:
            place.free()
            raise
        attempt = Attempt(reply, place)
        self._tell(attempt)
        return attempt

    async def _admit(self, place: Place, job: Job) -> None:
        upstream = place.lane.upstream
        if upstream.admission is None:
            return
        place.ticket = upstream.admission.try_enter(job.priority)
        if place.ticket is not None:
            return
        place.ticket = await upstream.admission.enter(job.flow(), job.priority)
        job.usage.queued += place.ticket.waited

    async def _send(self, request: ModelRequest, upstream: Upstream, key: str | None) -> LegReply:
        headers = forwarded(request.headers, upstream, key)
        target = _target(request, upstream)
        return await upstream.leg.send(LegRequest(request.method, target, headers, request.body))

    def _tell(self, attempt: Attempt) -> None:
        retry_after = None
        if attempt.told in _OVERLOADED:
            retry_after = _retry_after(attempt, self._clock.time())
            if attempt.place.ticket is not None:
                attempt.place.ticket.overloaded()
        attempt.place.assignment.answered(attempt.told, retry_after)


def _is_open(met: Attempt | FairleadError, job: Job) -> bool:
    """Whether another try could be right after this; the first byte has not gone out yet."""
    if isinstance(met, Attempt):
        return met.told in _RETRIED and (met.told not in _MAYBE_DONE or job.may_repeat)
    if isinstance(met, QueueRefusedError):
        return met.reason != "timeout"
    # A server that was silent to the end of its time is not asked twice for the same.
    return not isinstance(met, UpstreamTimeoutError) and (
        not isinstance(met, UpstreamBrokenError) or job.may_repeat
    )


def _concluded(met: Attempt | FairleadError) -> Answer:
    if isinstance(met, FairleadError):
        raise met
    name = met.place.assignment.server
    if met.told in _KEY_REFUSED:
        met.close()
        raise UpstreamKeyError(name)
    return Answer(name, met)


def _retry_after(attempt: Attempt, now: float) -> float | None:
    for name, value in attempt.headers:
        if name == b"retry-after":
            return parse_retry_after(value, now)
    return None


def _target(request: ModelRequest, upstream: Upstream) -> bytes:
    # An OpenAI base URL holds the /v1, the others' do not: as their own clients take them.
    path = request.path[3:] if upstream.shape == "openai" else request.path
    target = upstream.base_path.encode() + path
    return target + b"?" + request.query if request.query else target

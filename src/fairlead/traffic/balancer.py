"""`SessionAwareLoadBalancer`: a session goes where it was; otherwise where there is room.

Everything here is decided in one synchronous step. Health, keys and rests are kept per server in
`member.py`, the weighing is in `candidates.py` and `scoring.py`, the rules for another try in
`retries.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import (
    UpstreamDrainingError,
    UpstreamError,
    UpstreamKeyError,
    UpstreamRestingError,
)
from fairlead.traffic.assignment import Placement, ServerAssignment
from fairlead.traffic.base import (
    BalancerOptions,
    BalancerStatistics,
    LoadReport,
    Server,
    State,
)
from fairlead.traffic.budget import RetryBudget
from fairlead.traffic.candidates import Candidates, Request
from fairlead.traffic.health import EjectionLimit
from fairlead.traffic.member import FORBIDDEN, Account, Member
from fairlead.traffic.retries import Retry, retry_after
from fairlead.traffic.sessions import SessionTable, session_key


class SessionAwareLoadBalancer(Resource):
    """Chooses server and account for each request, so that sessions find their prompts warm.

    Usable alone. Nothing in it waits or belongs to an event loop; it must be used from one thread.
    Closing forgets the sessions.

    A server whose callers bring their own credentials has one account; tell its assignments of an
    answer of 401 or 403 as 400, since it says nothing about a key of ours.

    >>> import asyncio
    >>> from fairlead.traffic.base import Server
    >>> async def main():
    ...     servers = [Server(name="gpu-1"), Server(name="gpu-2")]
    ...     async with SessionAwareLoadBalancer(servers) as balancer:
    ...         places = []
    ...         for _ in range(3):
    ...             assignment = balancer.choose("session-1", "qwen")
    ...             try:  # here the request is sent to assignment.server
    ...                 assignment.answered(200, retry_after=None)
    ...             finally:
    ...                 assignment.end()
    ...             places.append(assignment.server)
    ...         return len(set(places)), balancer.statistics().sessions
    >>> asyncio.run(main())
    (1, 1)
    """

    def __init__(
        self,
        servers: Sequence[Server] = (),
        *,
        options: BalancerOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`uniform(low, high)` is the chance in the delays of retries."""
        self.options = options or BalancerOptions()
        self._clock = clock
        self._uniform = uniform
        self._limit = EjectionLimit()
        self._sessions = SessionTable(self.options.max_sessions, self.options.session_ttl)
        self._budget = RetryBudget(self.options.retry_budget, self.options.retry_burst)
        self._requests = 0
        self._spills = 0
        self._members: dict[str, Member] = {}
        self._members = self._members_for(servers)
        self._limit.servers = len(self._members)

    async def _close(self) -> None:
        self._sessions.clear()

    def choose(
        self,
        session: str,
        model: str = "",
        among: Sequence[str] | None = None,
        capabilities: Collection[str] = (),
    ) -> ServerAssignment:
        """The place for a request of `session` (empty: no affinity) among the named servers.

        `among=None` means all of them. Raises `UpstreamDrainingError`, `UpstreamRestingError` or
        `UpstreamKeyError` where none of them may be called now, and `UpstreamError` where none of
        them is known. End the assignment whatever happens to the request.
        """
        now = self._clock.monotonic()
        servers = self._named(among)
        alone = len(servers) == 1 and len(servers[0].accounts) == 1
        # Without a session the requests are spread as if each were one of its own.
        seed = session or str(self._requests + 1)
        request = Request(
            key="" if alone else session_key(session, model),
            seed=b"" if alone else seed.encode("utf-8", "surrogatepass"),
            model=model,
            capabilities=capabilities,
            servers=servers,
        )
        members = self._callable(request, now)
        if not members:
            raise self._refusal(request, among, now)
        self._requests += 1
        self._budget.deposit()
        return self._assign(request, self._place(request, members, now))

    def again(self, assignment: object) -> ServerAssignment | None:
        """Where to try again after what `assignment` was told (`refused`, `failed`, `answered`).

        None: what it met stands. Ask only before the first byte went to the client. `assignment`
        is one that this class made (else `TypeError`); before or after this call, end it.
        """
        if not isinstance(assignment, ServerAssignment):
            raise TypeError(f"not an assignment of a balancer: {assignment!r}")
        request = assignment.request
        retry = retry_after(assignment.met, request.retries, request.repeats, self._uniform)
        if retry is None or (not retry.free and request.retries >= self.options.max_retries):
            return None
        now = self._clock.monotonic()
        members = self._next_members(assignment, retry, now)
        if not members and not (retry.where == "same" and assignment.in_service):
            return None
        if not retry.free and not self._budget.withdraw():
            return None
        request.retries += not retry.free
        request.moving = request.moving or retry.moves
        if retry.where == "same":
            request.repeats += 1
            return self._assign(request, Placement(assignment.place), retry.delay)
        return self._assign(request, self._place(request, members, now), retry.delay)

    def update(self, servers: Sequence[Server]) -> None:
        """Balance over these from now on; what is known of those that stay is kept.

        Assignments to removed servers end as ever and their sessions move. A server that comes
        starts slowly. One that was drained by `set_state` stays so, unless its own `state`
        changes. Accounts that were set aside are tried again: their keys may be new.
        """
        now = self._clock.monotonic()
        before = self._members
        self._members = self._members_for(servers)
        for name, member in self._members.items():
            if name not in before:
                member.health.start_slowly(now)
        for name, member in before.items():
            if name not in self._members:
                member.remove()
        self._limit.servers = len(self._members)
        self._readmit_beyond_half(now)

    def set_state(self, name: str, state: State) -> None:
        """Drain a server (it takes nothing new, its sessions move), or use it again.

        Raises `KeyError` for a server that is not known.
        """
        member = self._members.get(name)
        if member is None:
            known = ", ".join(self._members) or "none"
            raise KeyError(f"no server is named {name!r}; known: {known}")
        member.drain(state == "draining", self._clock.monotonic())

    def probed(self, name: str, ok: bool) -> None:
        """An active probe of a server succeeded or failed."""
        # A server may have been removed while it was being asked: then nobody wants to know.
        if member := self._members.get(name):
            member.health.probed(ok, self._clock.monotonic())

    def reported(self, name: str, report: LoadReport) -> None:
        """A server has said how busy it is."""
        if member := self._members.get(name):
            member.report(report, self._clock.monotonic())

    def statistics(self) -> BalancerStatistics:
        """Counts now."""
        now = self._clock.monotonic()
        return BalancerStatistics(
            servers=tuple(member.statistics(now) for member in self._members.values()),
            sessions=len(self._sessions),
            requests=self._requests,
            retries=self._budget.made,
            retries_denied=self._budget.denied,
            spills=self._spills,
            moved_sessions=self._sessions.moved,
        )

    def _members_for(self, servers: Sequence[Server]) -> dict[str, Member]:
        if len({server.name for server in servers}) < len(servers):
            raise ValueError("two servers have the same name")
        now = self._clock.monotonic()
        members = {}
        for server in servers:
            member = self._members.get(server.name)
            if member is None:
                member = Member(server, self.options, self._limit)
            else:
                member.update(server, now)
            members[server.name] = member
        return members

    def _readmit_beyond_half(self, now: float) -> None:
        out = [member.health for member in self._members.values()]
        out = [health for health in out if health.suspension.active]
        for health in sorted(out, key=lambda health: health.suspension.until or 0.0):
            if not self._limit.exceeded:
                return
            health.readmit(now)

    def _named(self, among: Sequence[str] | None) -> list[Member]:
        if among is None:
            return list(self._members.values())
        members = self._members
        return [members[name] for name in among if name in members]

    def _callable(self, request: Request, now: float) -> list[Member]:
        """The servers in service that have an account to be called for this request."""
        members = self._in_service(request.servers, now)
        found = self._openings(request, members, now)
        if not found:
            resting = [m for m in members if m.rests_shortly(request.model, now)]
            request.despite_rest = bool(resting)
            found = self._openings(request, resting, now)
        return found

    def _openings(self, request: Request, members: list[Member], now: float) -> list[Member]:
        model, tried, closed = request.model, request.tried, request.closed
        despite = request.despite_rest
        return [
            member
            for member in members
            if not (tried or member.hindered)
            or (
                member not in closed
                and member.open_accounts(model, now, tried, despite_rest=despite)
            )
        ]

    def _in_service(self, servers: list[Member], now: float) -> list[Member]:
        active = [member for member in servers if not (member.draining or member.gone)]
        if self._limit.out == 0:
            return active
        fit = [member for member in active if member.health.suspension.admits(now)]
        if any(not member.health.overdue for member in fit):
            return fit
        # Where none is well the fault may be ours, or any of them may be back: all are tried.
        return active

    def _place(self, request: Request, members: list[Member], now: float) -> Placement:
        if len(members) == 1 and len(members[0].accounts) == 1 and not request.key:
            return Placement(members[0].accounts[0])
        candidates = Candidates(members, request, self.options, now)
        if not request.key:
            return Placement(candidates.first())
        home = self._sessions.home(request.key, now)
        if home is not None and not request.moving:
            if candidates.takes(home):
                return Placement(self._unless_full(home, candidates))
            if home.member.serves(now) and not (home.gone or home.suspension.active):
                return Placement(self._spill(home, candidates))
        # Its place is gone: the session's other requests that met the same went there.
        gathered = self._sessions.gathering(request.key)
        if gathered is None or not candidates.takes(gathered):
            first = candidates.first()
            return Placement(first, gathers=first, left=home)
        return Placement(self._unless_full(gathered, candidates), gathers=gathered, left=home)

    def _unless_full(self, place: Account, candidates: Candidates) -> Account:
        if candidates.within(place.member):
            return place
        return self._spill(place, candidates)

    def _spill(self, place: Account, candidates: Candidates) -> Account:
        account = candidates.second(place)
        self._spills += account is not place
        return account

    def _assign(
        self, request: Request, placement: Placement, delay: float = 0.0
    ) -> ServerAssignment:
        request.tried += (placement.account,)
        return ServerAssignment(request, placement, self._sessions, self._clock, delay)

    def _next_members(self, assignment: ServerAssignment, retry: Retry, now: float) -> list[Member]:
        """The servers for another try; none where the same account is tried again."""
        if retry.where == "same":
            return []
        request = assignment.request
        member = assignment.place.member
        if retry.where == "elsewhere":
            request.closed += (member,)
        members = self._callable(request, now)
        return [member] if retry.where == "account" and member in members else members

    def _refusal(self, request: Request, among: Sequence[str] | None, now: float) -> UpstreamError:
        """Why none of the servers may be called."""
        if not request.servers:
            names = ", ".join(among or ()) or "none"
            return UpstreamError(names, "no such server is configured")
        members = self._in_service(request.servers, now)
        if not members:
            return UpstreamDrainingError(request.servers[0].server.name)
        rests = [(member.soonest_rest(request.model, now), member) for member in members]
        resting = [(rest, member.server.name) for rest, member in rests if rest is not None]
        if not resting:
            return UpstreamKeyError(members[0].server.name)
        rest, name = min(resting)
        if rest.status == FORBIDDEN:
            return UpstreamKeyError(name)
        return UpstreamRestingError(name, rest.status, rest.until - now)

    def __repr__(self) -> str:
        return (
            f"<SessionAwareLoadBalancer {len(self._members)} servers, {self._limit.out} out, "
            f"{self._sessions!r}>"
        )

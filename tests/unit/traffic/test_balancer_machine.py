"""Any order of choices, answers, failures, ends, reloads and time keeps the books right."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.errors import UpstreamError
from fairlead.testing import ManualClock
from fairlead.traffic.assignment import ServerAssignment
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import BalancerOptions, LoadReport, Server
from support.balancing import pass_time

NAMES = "abcdef"
SESSIONS = st.sampled_from(["", *(f"s{n}" for n in range(12))])
STATUSES = st.sampled_from([200, 200, 200, 400, 401, 403, 429, 500, 502, 503, 504, 529])
OPTIONS = BalancerOptions(
    max_sessions=4, retry_burst=3, max_retries=3, ejection_failures=2, session_ttl=100.0
)


class Balancing(RuleBasedStateMachine):
    """A few servers, and requests in every state."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.balancer = SessionAwareLoadBalancer(
            [Server(name=name, accounts=2) for name in "abc"], options=OPTIONS, clock=self.clock
        )
        self.open: list[ServerAssignment] = []
        self.members = {name: object() for name in "abc"}
        """A new object whenever a server is new, as its books are."""
        self.placed_on: dict[ServerAssignment, object] = {}
        self.requests = 0

    def _note(self, assignment: ServerAssignment) -> None:
        self.open.append(assignment)
        self.placed_on[assignment] = self.members.get(assignment.server)

    @rule(session=SESSIONS, model=st.sampled_from("mn"), among=st.sets(st.sampled_from(NAMES)))
    def choose(self, session: str, model: str, among: set[str]) -> None:
        self.requests += 1
        draining = {s.name for s in self.balancer.statistics().servers if s.state == "draining"}
        try:
            assignment = self.balancer.choose(session, model, sorted(among) or None)
        except UpstreamError:
            return
        assert assignment.server in (among or NAMES)
        assert assignment.server not in draining
        assert assignment.valid
        self._note(assignment)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["refused", "unsent", "sent"]))
    def fail(self, data: st.DataObject, how: str) -> None:
        assignment = data.draw(st.sampled_from(self.open))
        if how == "refused":
            assignment.refused()
        elif assignment.met.outcome != "failed":
            assignment.failed(sent=how == "sent")

    @precondition(lambda self: self.open)
    @rule(data=st.data(), status=STATUSES, after=st.sampled_from([None, 1.0, 40.0]))
    def answer(self, data: st.DataObject, status: int, after: float | None) -> None:
        assignment = data.draw(st.sampled_from(self.open))
        if assignment.met.outcome == "nothing":
            assignment.answered(status, after)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), end_first=st.booleans())
    def again(self, data: st.DataObject, end_first: bool) -> None:
        assignment = data.draw(st.sampled_from(self.open))
        repeats = assignment.met.outcome == "answered" and assignment.met.status == 529
        if end_first:
            self._end(assignment)
        following = self.balancer.again(assignment)
        if following is None:
            return
        if not repeats:
            tried = assignment.request.tried
            assert following.place not in tried[:-1]
        else:
            assert following.place is assignment.place
        assert following.valid
        self._note(following)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(self.open)))

    def _end(self, assignment: ServerAssignment) -> None:
        assignment.end()
        assignment.end()
        self.open.remove(assignment)
        del self.placed_on[assignment]

    @rule(
        names=st.sets(st.sampled_from(NAMES)),
        accounts=st.integers(1, 3),
        state=st.sampled_from(["active", "active", "draining"]),
    )
    def update(self, names: set[str], accounts: int, state: str) -> None:
        self.balancer.update(
            [Server(name=name, accounts=accounts, state=state) for name in sorted(names)]
        )
        self.members = {name: self.members.get(name, object()) for name in names}

    @rule(data=st.data(), state=st.sampled_from(["active", "draining"]))
    def set_state(self, data: st.DataObject, state: str) -> None:
        if self.members:
            self.balancer.set_state(data.draw(st.sampled_from(sorted(self.members))), state)

    @rule(name=st.sampled_from(NAMES), ok=st.booleans())
    def probe(self, name: str, ok: bool) -> None:
        self.balancer.probed(name, ok)

    @rule(name=st.sampled_from(NAMES), running=st.integers(0, 50))
    def report(self, name: str, running: int) -> None:
        self.balancer.reported(name, LoadReport(running=running, cpu=0.5))

    @rule(seconds=st.sampled_from([0.1, 5.0, 31.0, 150.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        pass_time(self.clock, seconds)

    @invariant()
    def load_is_what_was_not_ended(self) -> None:
        expected = Counter(
            assignment.server
            for assignment, member in self.placed_on.items()
            if self.members.get(assignment.server) is member
        )
        for server in self.balancer.statistics().servers:
            assert server.in_flight == expected[server.name]

    @invariant()
    def at_most_half_are_out(self) -> None:
        servers = self.balancer.statistics().servers
        out = [server for server in servers if server.health in {"ejected", "trial"}]
        assert len(out) * 2 <= len(servers)
        assert len(out) == self.balancer._limit.out

    @invariant()
    def the_table_is_bounded(self) -> None:
        statistics = self.balancer.statistics()
        assert statistics.sessions <= 4
        assert sum(server.sessions for server in statistics.servers) <= statistics.sessions
        assert self.balancer._sessions.gatherings <= len(self.open)

    @invariant()
    def retries_keep_to_the_budget(self) -> None:
        assert self.balancer.statistics().retries <= 3 + 0.1 * self.requests + 1e-9

    def teardown(self) -> None:
        for assignment in list(self.open):
            self._end(assignment)
        assert all(server.in_flight == 0 for server in self.balancer.statistics().servers)
        assert self.balancer._sessions.gatherings == 0


TestBalancing = Balancing.TestCase
TestBalancing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

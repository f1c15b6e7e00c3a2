"""One server and its accounts with all that changes about them."""

from __future__ import annotations

import math

from fairlead.traffic.base import BalancerOptions, LoadReport, Server, ServerStatistics
from fairlead.traffic.health import EjectionLimit, Health
from fairlead.traffic.rests import WHOLE_SERVER, Rest, Rests
from fairlead.traffic.scoring import label, rendezvous
from fairlead.traffic.suspension import Stake, Suspension

_OVERLOADED = frozenset({429, 503, 529})
_SET_ASIDE = 30.0
_LONGEST_SET_ASIDE = 600.0
_SHORT_REST = 10.0
_FORBIDDEN_IN_A_ROW = 3
"""403 can also be about what a caller sent, and callers must not lock each other out."""
FORBIDDEN = 403
"""Status of the rest that stands for a key that may not use a model."""


class Account:
    """One API key of a server: the place of a session."""

    __slots__ = (
        "_forbidden",
        "_refusals",
        "gone",
        "in_flight",
        "index",
        "label",
        "member",
        "name",
        "suspension",
    )

    def __init__(self, member: Member, index: int, name: str) -> None:
        self.member = member
        self.index = index
        self.name = name
        self.label = label(f"{member.server.name}#{index}")
        self.gone = False
        """It was removed from its server's configuration."""
        self.in_flight = 0
        self.suspension = Suspension()
        self._refusals = 0
        self._forbidden = 0

    def answered(self, status: int, model: str, stake: Stake, now: float) -> None:
        """What the answer says about the key: set aside after 401, for one model after 403s.

        After 401 for 30 s x 2^n, at most 10 min, then one request at a time tries it again. After
        three times 403 in a row for 30 s, and for that model only.
        """
        if status == 403:
            self._forbidden += 1
            if self._forbidden >= _FORBIDDEN_IN_A_ROW:
                self._forbidden = 0
                self.member.forbid(self, model, now)
            return
        if status < 400:
            self._forbidden = 0
        if not self.suspension.is_current(stake):
            return
        if status == 401:
            self._set_aside(now)
        elif status < 500:
            # Whatever else is wrong with the request, the key was accepted.
            self._refusals = 0
            self.suspension.lift()

    def _set_aside(self, now: float) -> None:
        # The exponent is bounded so that a key that is never mended does not end in an overflow.
        seconds = min(_SET_ASIDE * 2.0 ** min(self._refusals, 10), _LONGEST_SET_ASIDE)
        self._refusals += 1
        self.suspension.suspend(now + seconds)
        self.member.hindered = True

    def __repr__(self) -> str:
        return f"<Account {self.member.server.name}#{self.index} {self.in_flight} in flight>"


class Member:
    """One server, from its configuration until it is removed and nothing is on its way to it."""

    __slots__ = (
        "_options",
        "_report",
        "_report_until",
        "accounts",
        "draining",
        "failed",
        "gone",
        "health",
        "hindered",
        "in_flight",
        "label",
        "rests",
        "served",
        "server",
        "sessions",
        "unreachable",
    )

    def __init__(self, server: Server, options: BalancerOptions, limit: EjectionLimit) -> None:
        self.server = server
        self.label = label(server.name)
        self.accounts: list[Account] = []
        self.health = Health(options, limit)
        self.rests = Rests()
        self.draining = server.state == "draining"
        self.gone = False
        self.in_flight = 0
        self.sessions = self.served = self.failed = self.unreachable = 0
        self._options = options
        self.hindered = False
        """Some account may not be called now, at least for some model, as far as was seen."""
        self._report: LoadReport | None = None
        self._report_until = -math.inf
        self._count_accounts()

    def update(self, server: Server, now: float) -> None:
        """Its configuration has changed; a draining set at run time stands unless `state` did."""
        if server.state != self.server.state:
            self.drain(server.state == "draining", now)
        self.server = server
        self._count_accounts()
        for account in self.accounts:
            # The keys may be new: those set aside are tried at once.
            account.suspension.shorten(now)

    def _count_accounts(self) -> None:
        ids = self.server.account_ids
        before, self.accounts = self.accounts, []
        for index in range(self.server.accounts):
            name = ids[index] if index < len(ids) else ""
            known = before[index] if index < len(before) else None
            if known is None or known.name != name:
                # What the old key has brought upon itself is not the new one's.
                known = Account(self, index, name)
                self.rests.forget(index)
            self.accounts.append(known)
        for account in before:
            account.gone = account not in self.accounts

    def drain(self, draining: bool, now: float) -> None:
        """Take nothing new, or take it again, slowly: it may have been restarted meanwhile."""
        if self.draining and not draining and not self.health.suspension.active:
            self.health.start_slowly(now)
        self.draining = draining

    def remove(self) -> None:
        """It is configured no more; what is on its way to it ends as ever."""
        self.gone = True
        self.health.leave()

    def serves(self, now: float) -> bool:
        """Whether it is there and fit, whatever its load."""
        return not (self.gone or self.draining) and self.health.suspension.admits(now)

    def report(self, report: LoadReport, now: float) -> None:
        """Believe this for a while."""
        self._report = report
        self._report_until = now + self._options.report_ttl

    def fresh_report(self, now: float) -> LoadReport | None:
        """The last report, unless it is too old."""
        if self._report is not None and now > self._report_until:
            self._report = None
        return self._report

    def load(self, now: float) -> int:
        """Requests there, by our own count or the server's, whichever is more."""
        if self._report is None:
            return self.in_flight
        report = self.fresh_report(now)
        if report is None:
            return self.in_flight
        return max(self.in_flight, (report.running or 0) + (report.waiting or 0))

    def capacity(self, now: float) -> float:
        """Requests that it may be given at a time: fewer while it starts slowly."""
        if self.health.at_full:
            return self.server.capacity
        return self.server.capacity * self.health.share(now)

    def open_accounts(
        self,
        model: str,
        now: float,
        besides: tuple[Account, ...] = (),
        *,
        despite_rest: bool = False,
    ) -> list[Account]:
        """The accounts that may be called for `model`."""
        if not self.hindered and not besides:
            return self.accounts
        self.hindered = self.rests.any(now) or any(a.suspension.active for a in self.accounts)
        return [
            account
            for account in self.accounts
            if account not in besides
            and account.suspension.admits(now)
            and (despite_rest or self.rests.of(account.index, model, now) is None)
        ]

    def rests_shortly(self, model: str, now: float) -> bool:
        """It rests, and its own queue is the better answer to that than calling nobody."""
        rest = self.soonest_rest(model, now) if self.server.rests_softly else None
        short = rest is not None and rest.until - now <= _SHORT_REST
        return short and rest is not None and rest.status != FORBIDDEN

    def forbid(self, account: Account, model: str, now: float) -> None:
        """The account may not use `model`, as far as can be told."""
        self.rests.ask(account.index, model, Rest(now + _SET_ASIDE, FORBIDDEN), now)
        self.hindered = True

    def rest(self, account: Account, model: str, status: int, seconds: float, now: float) -> None:
        """It asked not to be called: with 503 the whole server, else this account of it."""
        if status in _OVERLOADED and seconds > 0 and not account.gone:
            index = WHOLE_SERVER if status == 503 else account.index
            self.rests.ask(index, model, Rest(now + seconds, status), now)
            self.hindered = True

    def soonest_rest(self, model: str, now: float) -> Rest | None:
        """The rest that is over first, of the accounts whose key is accepted."""
        rests = [
            self.rests.of(account.index, model, now)
            for account in self.accounts
            if account.suspension.admits(now)
        ]
        return min((rest for rest in rests if rest is not None), default=None)

    def least_loaded(self, accounts: list[Account], session: bytes) -> Account:
        """The one of `accounts` with the fewest requests, among equals the session's own."""
        if len(accounts) == 1:
            return accounts[0]
        fewest = min(account.in_flight for account in accounts)
        equal = [account for account in accounts if account.in_flight == fewest]
        return max(equal, key=lambda account: rendezvous(session, account.label))

    def statistics(self, now: float) -> ServerStatistics:
        """Counts now."""
        rests = self.rests.running(now)
        return ServerStatistics(
            name=self.server.name,
            state="draining" if self.draining else "active",
            health=self.health.fitness(now),
            load=self.load(now),
            in_flight=self.in_flight,
            sessions=self.sessions,
            ejections=self.health.suspension.count,
            served=self.served,
            failed=self.failed,
            unreachable=self.unreachable,
            resting=len({model for model, _ in rests}),
            rest=max((left for _, left in rests), default=0.0),
            accounts_set_aside=sum(account.suspension.active for account in self.accounts),
            report=self.fresh_report(now),
        )

    def __repr__(self) -> str:
        return f"<Member {self.server.name} {self.in_flight} in flight, {self.health!r}>"

"""The servers that one request may go to now, weighed against each other."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from fairlead.traffic.base import BalancerOptions
from fairlead.traffic.member import Account, Member
from fairlead.traffic.scoring import load_bound, rendezvous, score


class Request(msgspec.Struct):
    """What is asked, and where it has been; one for all tries of a request."""

    key: str
    """Of the session table; empty for no affinity."""
    seed: bytes
    """The session as `rendezvous` takes it."""
    model: str
    capabilities: Collection[str]
    servers: list[Member]
    """Those it may ever go to."""
    tried: tuple[Account, ...] = ()
    closed: tuple[Member, ...] = ()
    """Servers that it does not go to again."""
    retries: int = 0
    repeats: int = 0
    """Tries at the same account."""
    despite_rest: bool = False
    """All that are left rest, but only shortly, and have a queue that follows their refusals."""
    moving: bool = False
    """Its session's place has failed it, so another one shall be its place."""


class Candidates:
    """Servers with an account that may be called now; made for one decision, never empty."""

    __slots__ = (
        "_all_capacity",
        "_all_loads",
        "_figures",
        "_now",
        "_options",
        "_request",
        "members",
    )

    def __init__(
        self, members: list[Member], request: Request, options: BalancerOptions, now: float
    ) -> None:
        self.members = members
        self._request = request
        self._options = options
        self._now = now
        self._all_loads = 1  # with the request itself
        self._all_capacity = 0.0
        self._figures: dict[Member, tuple[int, float]] = {}
        """Load and capacity of each."""
        for member in members:
            load, capacity = member.load(now), member.capacity(now)
            self._all_loads += load
            self._all_capacity += capacity
            self._figures[member] = load, capacity

    def takes(self, account: Account) -> bool:
        """Whether this account may be called."""
        return account.member in self._figures and account in self._accounts(account.member)

    def within(self, member: Member) -> bool:
        """Whether one more request leaves `member` within the bound of its load."""
        load, capacity = self._figures[member]
        options = self._options
        share = capacity / self._all_capacity
        bound = load_bound(self._all_loads, share, options.load_factor, options.load_slack)
        return load + 1 <= bound

    def first(self) -> Account:
        """The best by score, among equals the session's own by rendezvous hash."""
        members = [member for member in self.members if self.within(member)]
        if len(members) != 1:
            scores = {member: self._score(member) for member in members or self.members}
            best = max(scores.values())
            members = [member for member, points in scores.items() if points == best]
        if len(members) == 1:
            return self._account(members[0])
        return self._account(max(members, key=self._weight))

    def second(self, place: Account) -> Account:
        """Where to go instead of `place`, which has too much to do or rests.

        Another account there if one may be called, else the next server in the session's own order
        that is within the bound, so that a session that spills has one second home; else the least
        loaded one.
        """
        members = sorted(self.members, key=self._weight, reverse=True)
        if place.member in members and not self.takes(place):
            members.remove(place.member)
            members.insert(0, place.member)
        for member in members:
            if self.within(member):
                return self._account(member)
        return self._account(min(members, key=self._fullness))

    def _accounts(self, member: Member) -> list[Account]:
        request = self._request
        return member.open_accounts(
            request.model, self._now, request.tried, despite_rest=request.despite_rest
        )

    def _account(self, member: Member) -> Account:
        return member.least_loaded(self._accounts(member), self._request.seed)

    def _weight(self, member: Member) -> bytes:
        return rendezvous(self._request.seed, member.label)

    def _fullness(self, member: Member) -> float:
        load, capacity = self._figures[member]
        return load / capacity

    def _score(self, member: Member) -> float:
        return score(
            member.server,
            *self._figures[member],
            member.fresh_report(self._now),
            self._options.region,
            self._request.capabilities,
        )

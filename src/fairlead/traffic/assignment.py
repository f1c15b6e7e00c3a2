"""One request on its way to one server, and what its course says about that server."""

from __future__ import annotations

import msgspec

from fairlead.core.clock import Clock
from fairlead.traffic.candidates import Request
from fairlead.traffic.health import FAILURES
from fairlead.traffic.member import Account
from fairlead.traffic.retries import Met
from fairlead.traffic.sessions import SessionTable


class Placement(msgspec.Struct, frozen=True):
    """A place for a request: where, and what that means for its session."""

    account: Account
    gathers: Account | None = None
    """Where the session's next requests go while it has no place, or leaves it."""
    left: Account | None = None
    """The session's place so far, which this one takes over from on success."""


class ServerAssignment:
    """Counts as load of its server, and of its account, until `end`.

    At most one of `refused`, `failed` and `answered` is called, or `failed` after `answered`.
    After `end` nothing that it is told counts any more.
    """

    __slots__ = (
        "_clock",
        "_ended",
        "_health_stake",
        "_key_stake",
        "_pardoned",
        "_placement",
        "_sessions",
        "account",
        "delay",
        "met",
        "request",
        "server",
    )

    def __init__(
        self,
        request: Request,
        placement: Placement,
        sessions: SessionTable,
        clock: Clock,
        delay: float = 0.0,
    ) -> None:
        self.request = request
        self.met = Met()
        account = placement.account
        self.server = account.member.server.name
        self.account = account.index
        self.delay = delay
        """Seconds to wait before it is sent: the back-off of a retry."""
        self._placement = placement
        self._sessions = sessions
        self._clock = clock
        self._ended = False
        self._pardoned = 0
        now = clock.monotonic()
        self._health_stake = account.member.health.suspension.begin(now)
        self._key_stake = account.suspension.begin(now)
        self._count(1)
        if placement.gathers is not None:
            sessions.gather(request.key, placement.gathers)

    @property
    def place(self) -> Account:
        """The account with all that is known of it."""
        return self._placement.account

    @property
    def valid(self) -> bool:
        """Whether it should still be sent: nothing has happened to server or key meanwhile.

        A rest counts as well, unless this is a retry, which has waited as long as is right.
        """
        member = self._placement.account.member
        return self.in_service and (not member.hindered or self.delay > 0 or not self._rests())

    @property
    def in_service(self) -> bool:
        """The server still takes requests, and its key is not refused."""
        account = self._placement.account
        member = account.member
        if member.gone or member.draining or account.gone:
            return False
        suspension = member.health.suspension
        if suspension.active and not suspension.is_current(self._health_stake):
            return False
        return not account.suspension.active or account.suspension.is_current(self._key_stake)

    def _rests(self) -> bool:
        account, model = self._placement.account, self.request.model
        now = self._clock.monotonic()
        member = account.member
        if member.rests.of(account.index, model, now) is None:
            return False
        return not member.rests_shortly(model, now)

    def refused(self) -> None:
        """The queue before the server does not take it; nothing was sent."""
        if not self._ended:
            self.met.outcome = "refused"

    def failed(self, *, sent: bool) -> None:
        """The connection failed or broke, before or after the answer's head.

        `sent`: the server may have begun to work on it.
        """
        if self._ended:
            return
        member = self._placement.account.member
        already_counted = self.met.status in FAILURES
        self.met.outcome = "failed"
        if already_counted:
            return
        member.failed += 1
        member.unreachable += not sent
        member.health.failed(self._health_stake, self._clock.monotonic(), self._pardoned)

    def answered(self, status: int, retry_after: float | None) -> None:
        """The answer's head has come; `retry_after` in seconds, where it names a time."""
        if self._ended:
            return
        self.met = Met("answered", status, retry_after)
        now = self._clock.monotonic()
        account = self._placement.account
        member = account.member
        if status in FAILURES:
            member.failed += 1
            member.health.failed(self._health_stake, now)
        else:
            self._pardoned = member.health.succeeded(self._health_stake, now)
        account.answered(status, self.request.model, self._key_stake, now)
        if retry_after is not None:
            member.rest(account, self.request.model, status, retry_after, now)
        if status < 400 and self.request.key:
            self._sessions.served(self.request.key, account, self._placement.left, now)

    def end(self) -> None:
        """The request is over; idempotent."""
        if self._ended:
            return
        self._ended = True
        account = self._placement.account
        if self.met.outcome == "answered" and self.met.status not in FAILURES:
            account.member.served += 1
        account.member.health.suspension.settle(self._health_stake)
        account.suspension.settle(self._key_stake)
        self._count(-1)
        if self._placement.gathers is not None:
            self._sessions.disperse(self.request.key)

    def _count(self, change: int) -> None:
        account = self._placement.account
        account.in_flight += change
        account.member.in_flight += change

    def __repr__(self) -> str:
        state = "ended" if self._ended else self.met.outcome
        return f"<ServerAssignment {self.server}#{self.account} {state}>"

"""Out for a while, then one trial at a time: the shape that servers and API keys share."""

from __future__ import annotations

from typing import NamedTuple

TRIAL_TIME = 10.0
"""Seconds after which another trial may begin although the last one has no result."""


class Stake(NamedTuple):
    """What a request's result may say about a suspension; taken when the request is placed."""

    suspensions: int
    """So far: what was sent before the last one is no evidence about now."""
    is_trial: bool


class Suspension:
    """Whether something is suspended, until when, and whether a trial of it is under way."""

    __slots__ = ("_stake", "_tried_at", "trying", "until")

    def __init__(self) -> None:
        self.until: float | None = None
        """Seconds of the clock; None while not suspended. Past it, trials decide."""
        self.trying = False
        self._tried_at = 0.0
        self._stake = Stake(0, is_trial=False)

    @property
    def active(self) -> bool:
        """Suspended, or back on trial only."""
        return self.until is not None

    @property
    def count(self) -> int:
        """How often it was suspended."""
        return self._stake.suspensions

    def admits(self, now: float) -> bool:
        """Whether a request may go there."""
        if self.until is None:
            return True
        # A trial that takes its time, such as a long answer, must not keep out for as long.
        return now >= self.until and (not self.trying or now >= self._tried_at + TRIAL_TIME)

    def begin(self, now: float) -> Stake:
        """A request goes there; where that is due, it is the trial."""
        if self.until is None or not self.admits(now):
            return self._stake
        self.trying = True
        self._tried_at = now
        return Stake(self._stake.suspensions, is_trial=True)

    def is_current(self, stake: Stake) -> bool:
        """Whether the request that holds `stake` was placed after the last suspension."""
        return stake.suspensions == self._stake.suspensions

    def settle(self, stake: Stake) -> None:
        """The request is over; a trial without a result makes room for the next one."""
        if stake.is_trial and self.is_current(stake):
            self.trying = False

    def suspend(self, until: float) -> None:
        """Nothing more goes there before `until`."""
        self.until = until
        self.trying = False
        self._stake = Stake(self._stake.suspensions + 1, is_trial=False)

    def shorten(self, until: float) -> None:
        """Where it is suspended for longer, let trials begin at `until`."""
        if self.until is not None:
            self.until = min(self.until, until)

    def lift(self) -> None:
        """It is back."""
        self.until = None
        self.trying = False

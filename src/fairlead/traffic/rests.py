"""Who asked not to be called for a while, per account and model."""

from __future__ import annotations

import math
from typing import NamedTuple

WHOLE_SERVER = -1
"""In place of an account's index."""

_LONGEST = 300.0
"""Seconds; a server that asks for more is asked again after this."""
_MAX_RESTS = 1000
"""Per server. Models are strings of the callers' choice, so their number must be bounded."""


class Rest(NamedTuple):
    """A rest that was asked for."""

    until: float
    status: int
    """Of the answer that asked."""


class Rests:
    """The rests of one server, its accounts numbered from 0."""

    __slots__ = ("_latest", "_rests")

    def __init__(self) -> None:
        self._rests: dict[tuple[int, str], Rest] = {}
        self._latest = -math.inf

    def __len__(self) -> int:
        return len(self._rests)

    def ask(self, account: int, model: str, rest: Rest, now: float) -> None:
        """Keep `rest`, at most 300 s; a longer one that was asked for before stands."""
        key = (account, model)
        rest = Rest(min(rest.until, now + _LONGEST), rest.status)
        known = self._rests.get(key)
        if known is not None and known.until >= rest.until:
            return
        if known is None and len(self._rests) >= _MAX_RESTS:
            del self._rests[next(iter(self._rests))]
        self._rests[key] = rest
        self._latest = max(self._latest, rest.until)

    def of(self, account: int, model: str, now: float) -> Rest | None:
        """The rest that keeps this account from being called for this model, or None."""
        own = self._rests.get((account, model))
        whole = self._rests.get((WHOLE_SERVER, model))
        rests = [rest for rest in (own, whole) if rest is not None and rest.until > now]
        return max(rests, default=None)

    def any(self, now: float) -> bool:
        """Whether there is any; forgets them all when the last one is over."""
        if self._rests and now >= self._latest:
            self._rests.clear()
        return bool(self._rests)

    def running(self, now: float) -> list[tuple[str, float]]:
        """Model and seconds left of each."""
        return [
            (model, rest.until - now)
            for (_, model), rest in self._rests.items()
            if rest.until > now
        ]

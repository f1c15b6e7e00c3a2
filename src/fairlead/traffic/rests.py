"""Who asked not to be called for a while, per account and model."""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import NamedTuple

WHOLE_SERVER = -1
"""In place of an account's index."""

_LONGEST = 300.0
"""Seconds; a server that asks for more is asked again after this."""
_MAX_RESTS = 1000
"""Per server. Models are strings of the callers' choice, so their number must be bounded."""


_LONGEST_NAME = 100


def _bounded(model: str) -> str:
    if len(model) <= _LONGEST_NAME:
        return model
    return blake2b(model.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


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
        key = (account, _bounded(model))
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
        name = _bounded(model)
        own = self._rests.get((account, name))
        whole = self._rests.get((WHOLE_SERVER, name))
        rests = [rest for rest in (own, whole) if rest is not None and rest.until > now]
        return max(rests, default=None)

    def forget(self, account: int) -> None:
        """There is another account in its place now."""
        self._rests = {key: rest for key, rest in self._rests.items() if key[0] != account}

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

"""What to do after what a try has met (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from fairlead.core.retry import full_jitter

Where = Literal["elsewhere", "account", "same"]
"""Another server; another account, of the same server first; the same account once more."""

_MAX_REPEATS = 2
_LONGEST_WAIT = 10.0


class Met(msgspec.Struct):
    """What a try has met so far."""

    outcome: Literal["nothing", "refused", "failed", "answered"] = "nothing"
    status: int = 0
    retry_after: float | None = None


class Retry(msgspec.Struct, frozen=True):
    """Another try that the rules allow."""

    where: Where
    delay: float = 0.0
    """Seconds."""
    free: bool = False
    """Nothing was sent, so this is no retry to be counted."""
    moves: bool = True
    """The session's place shall be where the next try succeeds."""


def retry_after(
    met: Met, retries: int, repeats: int, uniform: Callable[[float, float], float]
) -> Retry | None:
    """The next try after what was `met`; None where it stands.

    `retries` and `repeats` (at the same account) are those made before.
    """
    if met.outcome == "refused":
        return Retry("elsewhere", free=True, moves=False)
    if met.outcome == "failed" or met.status in {502, 503, 504}:
        return Retry("elsewhere")
    if met.status in {401, 403}:
        return Retry("account")
    if met.status == 429:
        delay = full_jitter(retries, 0.05, 1.0, uniform)
        return Retry("account", delay, moves=False)
    if met.status == 529 and repeats < _MAX_REPEATS:
        return Retry("same", _overload_delay(met, repeats, uniform), moves=False)
    return None


def _overload_delay(met: Met, repeats: int, uniform: Callable[[float, float], float]) -> float:
    if met.retry_after is not None and met.retry_after > 0:
        return min(met.retry_after, _LONGEST_WAIT)
    return full_jitter(repeats, 0.5, _LONGEST_WAIT, uniform)

"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


def full_jitter(
    attempt: int, base: float, cap: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds before try number `attempt` (from 0): uniform in 0 to min(cap, base x 2^attempt).

    Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): many clients that lost
    the same server do not come back at once.
    """
    # The exponent is bounded so that a long outage does not end in an overflow.
    return uniform(0.0, min(cap, base * 2.0 ** min(attempt, 60)))

"""How long to wait before the next try."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 86_400.0
"""Seconds; a server that asks for more than a day is asked again after a day."""

_SECONDS = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


def full_jitter(
    attempt: int, base: float, cap: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds before try number `attempt` (from 0): uniform in 0 to min(cap, base x 2^attempt).

    Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): many clients that lost
    the same server do not come back at once.
    """
    # The exponent is bounded so that a long outage does not end in an overflow.
    return uniform(0.0, min(cap, base * 2.0 ** min(attempt, 60)))


def parse_retry_after(value: bytes | str, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` field (RFC 9110 section 10.2.3); None for garbage.

    Delay-seconds, with a fraction as some servers send it, or an HTTP-date in any of the three
    forms of section 5.6.7, seen from `now` (seconds since 1970). What lies in the past is 0, and
    nothing is longer than `LONGEST_RETRY_AFTER`.
    """
    text = (value.decode("latin-1") if isinstance(value, bytes) else value).strip()
    seconds = float(text) if _SECONDS.fullmatch(text) else _seconds_until(text, now)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _seconds_until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    # The asctime form names no zone: every HTTP-date is in UTC.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now

"""What the caller is told about an error of ours: status, code and when to come again (pure)."""

from __future__ import annotations

import math

from fairlead.errors import (
    CapacityError,
    ClosedError,
    FairleadError,
    QueueRefusedError,
    RequestError,
    UpstreamBusyError,
    UpstreamDrainingError,
    UpstreamKeyError,
    UpstreamRestingError,
    UpstreamTimeoutError,
)
from fairlead.gateway.legs.base import Headers


def error_kind(error: FairleadError) -> str:
    """A short word for metrics and codes."""
    if isinstance(error, RequestError):
        return error.code or "request"
    if isinstance(error, QueueRefusedError):
        return f"queue_{error.reason}"
    return getattr(error, "kind", "closed" if isinstance(error, ClosedError) else "internal")


def as_answer(error: FairleadError) -> tuple[int, str | None, Headers]:
    """Status, code and further header fields; never 401 for a fault that is not the caller's."""
    if isinstance(error, RequestError):
        extra = [(b"x-should-retry", b"false")] if error.status == 504 else []
        return error.status, error.code, extra
    if isinstance(error, UpstreamKeyError):
        # The official clients retry a 502; with a dead key that cannot help.
        return 502, "upstream_credentials", [(b"x-should-retry", b"false")]
    if isinstance(error, UpstreamTimeoutError):
        return 504, "upstream_timeout", []
    return _come_again(error) or (502, f"upstream_{error_kind(error)}", [])


def _come_again(error: FairleadError) -> tuple[int, str, Headers] | None:
    """What passes by itself: 429 for who has more than its share, else 503."""
    if isinstance(error, QueueRefusedError):
        status = 429 if error.reason == "share" else 503
        return status, error_kind(error), _retry_after(error.retry_after)
    if isinstance(error, UpstreamRestingError):
        status = 429 if error.status == 429 else 503
        return status, "upstream_resting", _retry_after(error.retry_after)
    if isinstance(error, UpstreamBusyError | UpstreamDrainingError):
        return 503, f"upstream_{error.kind}", _retry_after(1)
    if isinstance(error, CapacityError):
        return 503, "overloaded", _retry_after(1)
    if isinstance(error, ClosedError):
        return 503, "shutting_down", _retry_after(1)
    return None


def _retry_after(seconds: float) -> Headers:
    # Whole seconds (RFC 9110 section 10.2.3), rounded up: earlier would be too early.
    return [(b"retry-after", b"%d" % max(1, math.ceil(seconds)))]

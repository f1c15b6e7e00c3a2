"""What one request may ask of the simulation by `x-simulate-*` headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fairlead.errors import RequestError
from fairlead.gateway.simulated.options import MAX_ANSWER_TOKENS

_PREFIX = "x-simulate-"


class Controls(msgspec.Struct, frozen=True):
    """Wishes of one request; None where it has none."""

    status: int | None = None
    """Answer with this error."""
    retry_after: int | None = None
    """Seconds in the `retry-after` of an error answer."""
    break_after: int | None = None
    """Close the connection after so many events; a plain answer breaks off half-way."""
    ttft: float | None = None
    """Seconds to the first token, prefill included."""
    tokens_per_second: float | None = None
    events: int | None = None
    """Length of an unscripted answer in tokens: one content event each."""


_LIMITS: dict[str, tuple[Callable[[str], float], float, float]] = {
    "status": (int, 400, 599),
    "retry-after": (int, 0, 86_400),
    "break-after": (int, 0, 10_000_000),
    "ttft": (float, 0, 3600),
    "tokens-per-second": (float, 0, 1_000_000),
    "events": (int, 1, MAX_ANSWER_TOKENS),
}


def read_controls(headers: Mapping[str, str]) -> Controls:
    """The wishes in `headers` (lower-case names).

    An unknown `x-simulate-*` header or a bad value is `RequestError` 400 naming what is allowed.
    """
    wishes: dict[str, Any] = {}
    for name, value in headers.items():
        if name.startswith(_PREFIX):
            wish = name.removeprefix(_PREFIX)
            wishes[wish.replace("-", "_")] = _checked(name, wish, value)
    return Controls(**wishes)


def _checked(name: str, wish: str, value: str) -> float:
    if wish not in _LIMITS:
        known = ", ".join(_PREFIX + word for word in _LIMITS)
        raise RequestError(400, f"Unknown header {name}; known: {known}.", code="invalid_header")
    kind, low, high = _LIMITS[wish]
    try:
        number = kind(value)
        fine = low <= number <= high
    except ValueError:
        number, fine = 0, False
    if not fine:
        what = "a whole number" if kind is int else "a number"
        message = f"Header {name}: {value!r} is not {what} from {low:,} to {high:,}."
        raise RequestError(400, message, code="invalid_header")
    return number

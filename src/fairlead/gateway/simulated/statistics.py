"""What the simulated upstream has been asked and how it went; `/stats` shows it."""

from __future__ import annotations

import hashlib
from collections import Counter, deque

import msgspec

from fairlead.gateway.simulated.prefix import PrefixStatistics

_REMEMBERED = 100


class Visit(msgspec.Struct):
    """One request: what came, and how it ended (`active` until it has).

    `outcome` is `completed`, `refused` (an error was answered), `cancelled` (the client went away
    first) or `broken` (cut on purpose).
    """

    request_id: str
    method: str
    path: str
    bytes: int = 0
    sha256: str = ""
    """Of the body as it came; tests compare it with what they sent. The body itself is not kept."""
    status: int = 0
    outcome: str = "active"


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot: counts since the start, and the last 100 requests, oldest first."""

    name: str
    requests: dict[str, int]
    """By path; paths it does not serve are counted as `other`."""
    active: int
    completed: int
    cancelled: int
    broken: int
    errors: dict[str, int]
    """Error answers by status."""
    input_tokens: int
    output_tokens: int
    prefix_cache: PrefixStatistics
    last: list[Visit]


class Ledger:
    """Counts visits; bounded."""

    def __init__(self, known_paths: frozenset[str]) -> None:
        self._known = known_paths
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._tokens = [0, 0]
        self._last: deque[Visit] = deque(maxlen=_REMEMBERED)
        self.active = 0

    def begin(self, visit: Visit) -> None:
        """A request's head has come."""
        self._requests[visit.path if visit.path in self._known else "other"] += 1
        self._last.append(visit)
        self.active += 1

    def received(self, visit: Visit, body: bytes) -> None:
        """Its body has come."""
        visit.bytes = len(body)
        visit.sha256 = hashlib.sha256(body).hexdigest()

    def used(self, input_tokens: int, output_tokens: int) -> None:
        """An answer with these usage figures is about to be sent."""
        self._tokens[0] += input_tokens
        self._tokens[1] += output_tokens

    def end(self, visit: Visit, outcome: str) -> None:
        """It is over."""
        visit.outcome = outcome
        self.active -= 1
        self._outcomes[outcome] += 1
        if outcome == "refused":
            self._errors[str(visit.status)] += 1

    def statistics(self, name: str, prefix_cache: PrefixStatistics) -> Statistics:
        """Counts now."""
        return Statistics(
            name=name,
            requests=dict(self._requests),
            active=self.active,
            completed=self._outcomes["completed"],
            cancelled=self._outcomes["cancelled"],
            broken=self._outcomes["broken"],
            errors=dict(self._errors),
            input_tokens=self._tokens[0],
            output_tokens=self._tokens[1],
            prefix_cache=prefix_cache,
            last=[msgspec.structs.replace(visit) for visit in self._last],
        )

"""What the node must reach, and whether a run's figures reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers import TITLES

Lookup = Callable[[str, str, str], float | None]
"""The median of a figure: `lookup(row, peer, metric)`, added ones with direct subtracted."""


@dataclass(frozen=True)
class Verdict:
    """A goal beside what was measured. `met` is None where something was not measured."""

    text: str
    met: bool | None
    measured: str


@dataclass(frozen=True)
class Goal:
    """A figure of the node against a peer's (`factor` times it) or against `limit`.

    Where `at_most`, smaller is better. `peer_row` is the peer's row, if it is another one.
    """

    row: str
    metric: str
    limit: float = 0.0
    peer: str | None = None
    peer_row: str | None = None
    at_most: bool = False
    unit: str = ""

    def judge(self, lookup: Lookup) -> Verdict:
        """Compare, in words."""
        sign = "≤" if self.at_most else "≥"
        against = f" × {TITLES[self.peer]}" if self.peer else f" {self.unit}".rstrip()
        text = f"{sign} {self.limit:g}{against}"
        own = lookup(self.row, "fairlead", self.metric)
        base = 1.0 if self.peer is None else self._base(lookup, self.peer)
        if own is None or not base:
            return Verdict(text, None, "not measured")
        ratio = own / base
        met = ratio <= self.limit if self.at_most else ratio >= self.limit
        shown = f"{ratio:.3g}{against}"
        if met:
            return Verdict(text, True, f"met: {shown}")
        short = abs(ratio / self.limit - 1) * 100
        return Verdict(text, False, f"missed by {short:.0f} %: {shown}")

    def _base(self, lookup: Lookup, peer: str) -> float | None:
        return lookup(self.peer_row or self.row, peer, self.metric)


def _misses() -> list[Goal]:
    goals = []
    for caching in ("stored", "bypass"):
        row = f"throughput-{caching}-8k"
        # LiteLLM has no request that its cache passes by, so its one miss stands for both.
        stored = "throughput-stored-8k"
        goals += [
            Goal(row, "rate", 0.25, "nginx"),
            Goal(row, "rate", 1.25, "sglang"),
            Goal(row, "rate", 100, "litellm", peer_row=stored),
            Goal(f"throughput-{caching}-400k", "rate", 0.45, "nginx"),
            Goal(f"sequential-{caching}-8k", "p50", 0.3, at_most=True, unit="ms"),
        ]
    return goals


GOALS = (
    Goal("throughput-hit-8k", "rate", 0.7, "nginx"),
    Goal("throughput-hit-8k", "rate", 80, "litellm"),
    Goal("sequential-hit-8k", "p50", 1, at_most=True, unit="ms"),
    Goal("sequential-hit-8k", "p99", 5, at_most=True, unit="ms"),
    *_misses(),
    Goal("stream-paced", "cpu", 40, at_most=True, unit="µs"),
    Goal("stream-flood", "first_p99", 10, "nginx", at_most=True),
    Goal("live", "delay_p99", 20, at_most=True, unit="ms"),
    Goal("live", "broken", 0, at_most=True),
    Goal("memory", "rss_end", 150, at_most=True, unit="MB"),
    Goal("memory", "growth", 1.05, at_most=True),
)
"""`growth` is the memory at the end over that at half of the requests: flat within a twentieth."""


def verdicts(lookup: Lookup) -> dict[tuple[str, str], list[Verdict]]:
    """The verdict on every goal, by row and metric."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for goal in GOALS:
        found.setdefault((goal.row, goal.metric), []).append(goal.judge(lookup))
    return found

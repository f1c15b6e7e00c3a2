"""What a run found: the table with ratios and goals, and the same as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.goals import Verdict, verdicts
from benchmarks.machine import Machine
from benchmarks.peers import TITLES
from benchmarks.rows import Metric, Row

_COMPARED = ("nginx", "litellm", "sglang")


@dataclass(frozen=True)
class About:
    """When, where and with what the run was made."""

    machine: Machine
    date: str
    seed: int
    command: str
    versions: dict[str, str]
    rounds: int
    notes: list[str] = field(default_factory=list)


class Results:
    """The figures of all rounds, and why cells have none."""

    def __init__(self, rows: Sequence[Row], peers: Sequence[str], missing: dict[str, str]) -> None:
        """`missing` says of each peer that does not run why."""
        self.rows, self.peers, self.missing = rows, peers, missing
        self._figures: dict[tuple[str, str, str], list[float]] = {}
        self._reasons: dict[tuple[str, str], str] = {}
        self._added = {(r.id, m.key) for r in rows for m in r.metrics if m.added}

    def add(self, row: str, peer: str, figures: dict[str, float]) -> None:
        """One round's figures."""
        for key, value in figures.items():
            self._figures.setdefault((row, peer, key), []).append(value)

    def explain(self, row: str, peer: str, reason: str) -> None:
        """Why a cell has no figures, or not those of each round."""
        self._reasons[row, peer] = reason

    def lookup(self, row: str, peer: str, metric: str) -> float | None:
        """The median over the rounds; direct's is subtracted where the metric is an added one."""
        values = self._figures.get((row, peer, metric))
        if values is None:
            return None
        median = statistics.median(values)
        if (row, metric) not in self._added or peer == "direct":
            return median
        base = self._figures.get((row, "direct", metric))
        return None if base is None else median - statistics.median(base)

    def footnotes(self) -> list[str]:
        """Peers and cells that are not there, with the reason."""
        lines = [f"{TITLES[peer]} is not in this run: {why}." for peer, why in self.missing.items()]
        for (row, peer), reason in self._reasons.items():
            lines.append(f"`{row}`, {TITLES[peer]}: {reason}.")
        return lines

    def as_json(self, about: About) -> dict[str, Any]:
        """Every figure of every round, the medians' verdicts, and what it was measured on."""
        judged = verdicts(self.lookup)
        return {
            "about": asdict(about),
            "missing": self.missing,
            "figures": [
                {"row": row, "peer": peer, "metric": metric, "rounds": values}
                for (row, peer, metric), values in self._figures.items()
            ],
            "reasons": [
                {"row": row, "peer": peer, "reason": reason}
                for (row, peer), reason in self._reasons.items()
            ],
            "goals": [
                {"row": row, "metric": metric, **asdict(verdict)}
                for (row, metric), found in judged.items()
                for verdict in found
            ],
        }


def markdown(results: Results, about: About) -> str:
    """The table for people: a line for each figure, a column for each peer, ratios, goals."""
    judged = verdicts(results.lookup) if "fairlead" in results.peers else {}
    columns = [peer for peer in TITLES if peer in results.peers]
    compared = [peer for peer in _COMPARED if peer in columns and "fairlead" in columns]
    heads = ["row", "figure", *(TITLES[peer] for peer in columns)]
    heads += [f"Fairlead ÷ {TITLES[peer]}" for peer in compared]
    lines = [*_heading(about), _line([*heads, "goal"]), _line(["---"] * (len(heads) + 1))]
    for row in results.rows:
        for metric in row.metrics:
            cells = [_cell(results, row, metric, peer) for peer in columns]
            ratios = [_ratio(results, row, metric, peer) for peer in compared]
            goals = _goals(judged.get((row.id, metric.key), []))
            lines.append(_line([row.title, metric.title, *cells, *ratios, goals]))
    notes = [f"- {note}" for note in [*about.notes, *results.footnotes()]]
    return "\n".join([*lines, "", *notes, ""])


def _heading(about: About) -> list[str]:
    versions = ", ".join(
        f"{TITLES.get(name, name)} {text}" for name, text in about.versions.items()
    )
    return [
        f"Machine: {about.machine}",
        f"Versions: {versions}",
        f"Run: {about.date}, seed {about.seed}, medians of {about.rounds} interleaved rounds,"
        f" `{about.command}`",
        "",
    ]


def _cell(results: Results, row: Row, metric: Metric, peer: str) -> str:
    if metric.added and peer == "direct":
        value = results.lookup(row.id, peer, metric.key)
        return "–" if value is None else f"({value:,.{metric.digits}f})"
    value = results.lookup(row.id, peer, metric.key)
    if value is None or (peer == "direct" and metric.server_only):
        return "–"
    return f"{value:,.{metric.digits}f}"


def _ratio(results: Results, row: Row, metric: Metric, peer: str) -> str:
    own = results.lookup(row.id, "fairlead", metric.key)
    other = results.lookup(row.id, peer, metric.key)
    if own is None or other is None or other <= 0 or own < 0:
        return "–"
    return f"{own / other:.3g}"


def _goals(found: Sequence[Verdict]) -> str:
    return "; ".join(f"{verdict.text}: {verdict.measured}" for verdict in found)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

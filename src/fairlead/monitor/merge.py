"""Several processes' snapshots become one (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairlead.monitor.base import Labels, Snapshot
from fairlead.monitor.families import FAMILIES, Family

_COMBINE: dict[str, Callable[[float, float], float]] = {
    "sum": lambda left, right: left + right,
    "max": max,
    "min": min,
}


def merge(parts: Iterable[tuple[Snapshot, bool]]) -> Snapshot:
    """One snapshot of all `parts`, each given with whether its process lives.

    Counters and histograms of the dead count on; their gauges describe nothing any more and are
    left out. Families that this version does not know are left out too.
    """
    whole = Snapshot()
    for part, live in parts:
        for name, series in part.numbers.items():
            family = FAMILIES.get(name)
            if family is not None and (live or family.kind == "counter"):
                _merge_numbers(whole, family, series)
        for name, histograms in part.histograms.items():
            if name in FAMILIES:
                for labels, histogram in histograms.items():
                    whole.add_histogram(name, histogram, *labels)
    return whole


def _merge_numbers(whole: Snapshot, family: Family, series: dict[Labels, float]) -> None:
    combine = _COMBINE[family.merge]
    target = whole.numbers.setdefault(family.name, {})
    for labels, value in series.items():
        target[labels] = combine(target[labels], value) if labels in target else value

"""Files from cache beside plain reads."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from benchmarks.measure import quantile
from benchmarks.sheet import Table
from benchmarks.workspace_trees import standard_library
from fairlead import FileSystemCache

_GOAL_US = 50.0
_FILES = 200


async def files_table(folder: Path, reads: int) -> Table:
    """Reads and stats of the same files, one caller."""
    tree = standard_library(folder / "files")
    # Every tenth, so that they lie in many directories.
    paths = sorted(str(path.relative_to(tree)) for path in tree.rglob("*.py"))[::10][:_FILES]
    rows = []
    async with FileSystemCache(tree) as files:
        for path in paths:
            await files.read(path)
        time.sleep(2.5)  # noqa: ASYNC251 - until they are old enough to be believed
        for path in paths:
            await files.read(path)
        cached, stats = [], []
        for number in range(reads):
            path = paths[number % len(paths)]
            began = time.perf_counter()
            await files.read(path)
            middle = time.perf_counter()
            await files.stat(path)
            cached.append((middle - began) * 1e6)
            stats.append((time.perf_counter() - middle) * 1e6)
    plain, plain_stats = [], []
    for number in range(reads):
        path = str(tree / paths[number % len(paths)])
        began = time.perf_counter()
        with open(path, "rb") as file:  # noqa: ASYNC230, PTH123 - what is compared with
            file.read()
        middle = time.perf_counter()
        os.stat(path)  # noqa: PTH116 - the same
        plain.append((middle - began) * 1e6)
        plain_stats.append((time.perf_counter() - middle) * 1e6)
    for what, ours, other, goal in (
        ("read", cached, plain, _GOAL_US),
        ("stat", stats, plain_stats, None),
    ):
        p50 = statistics.median(ours)
        verdict = "" if goal is None else f"p50 < {goal:.0f}: {'met' if p50 < goal else 'missed'}"
        rows.append(
            [
                what,
                *(f"{value:.1f}" for value in (p50, quantile(ours, 0.99))),
                *(f"{value:.1f}" for value in (statistics.median(other), quantile(other, 0.99))),
                verdict,
            ]
        )
    heads = ("what", "cached p50, µs", "p99", "plain p50, µs", "p99", "goal")
    notes = [
        f"{len(paths)} files of the standard library, {reads:,} times; in process, one caller.",
        "Cached: confined to the root, and checked against the disk each time. Plain: open and "
        "read, os.stat, from the system's page cache, by absolute path.",
    ]
    return Table("Files from cache", heads, rows, notes)

"""Writes in tables: by callers, and against a bare table in alternating rounds."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.conversations_data import BenchStore
from benchmarks.conversations_writes import (
    BARE_BATCH,
    Appends,
    append,
    bare_commits,
    bare_insert,
    batched,
    fresh_messages,
    unbatched,
)
from benchmarks.sheet import Table

CALLERS = {1: 1_000, 10: 5_000, 100: 20_000}
"""How many callers append at once, and how many messages together."""
GOAL = 0.25
"""Of a bare insert's rows a second."""
_MANY = 100
_APPEND_HEADS = ("callers", "written", "acknowledged/s", "p50, ms", "p99, ms")
_DURABLE_HEADS = ("round", "bare table, rows/s", "one a call", "÷ bare", "ten a call", "÷ bare")
_FSYNCS = 200

Figures = list[Mapping[str, Any]]
Rows = Mapping[int, int]


async def appends(
    store: BenchStore, bare: Path | None, rows: Rows, seed: int, console: Console
) -> list[tuple[int, str, Mapping[str, float]]]:
    """Callers, way and figures of each kind of append; plain commits go to a file at `bare`."""
    found = []
    for callers, count in rows.items():
        console.print(f"Appends from {callers} callers …")
        async with batched(store, callers) as write:
            took = await append(write, fresh_messages(count, seed), callers)
        found.append((callers, "BatchedThreadWriter", took.figures()))
        async with unbatched(store, callers) as write:
            took = await append(write, fresh_messages(count // 10, seed + 1), callers)
        found.append((callers, "same store, a transaction each", took.figures()))
        if bare is not None:
            async with bare_commits(bare.with_name(f"bare-{callers}")) as write:
                took = await append(write, fresh_messages(count // 5, seed + 2), callers)
            found.append((callers, "one bare table, a commit each", took.figures()))
    return found


def append_table(
    title: str, found: Sequence[tuple[int, str, Mapping[str, float]]], notes: Sequence[str]
) -> tuple[Table, Figures]:
    """The ways side by side."""
    rows: list[Sequence[str]] = []
    figures: Figures = []
    for callers, way, measured in found:
        rate, p50, p99 = (measured[key] for key in ("rows_per_second", "p50_ms", "p99_ms"))
        rows.append([str(callers), way, f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}"])
        about = {"kind": "append", "table": title, "callers": callers, "way": way}
        figures.append({**about, **measured})
    return Table(title, _APPEND_HEADS, rows, notes), figures


async def durable(
    folder: Path,
    make_store: Callable[[str], BenchStore],
    count: int,
    rounds: int,
    seed: int,
    console: Console,
) -> tuple[Table, Figures]:
    """Acknowledged messages a second against a bare table, one after the other in each round."""
    rows: list[Sequence[str]] = []
    figures: Figures = []
    ratios: list[Sequence[float]] = []
    for number in range(1, rounds + 1):
        console.print(f"Durable writes, round {number} of {rounds} …")
        bare = bare_insert(folder / f"insert-{number}", fresh_messages(count, seed + number))
        cells, shares = [f"{bare.rate:,.0f}"], []
        for each in (1, 10):
            async with make_store(f"durable-{number}-{each}") as store:
                took = await _written(store, count, each, seed + number)
            shares.append(took.rate / bare.rate)
            cells += [f"{took.rate:,.0f}", f"{shares[-1]:.2f}"]
            figures.append(
                {
                    "kind": "durable",
                    "round": number,
                    "each": each,
                    "rows_per_second": took.rate,
                    "bare_rows_per_second": bare.rate,
                    "share": shares[-1],
                }
            )
        ratios.append(shares)
        rows.append([str(number), *cells])
    one, ten = (statistics.median(column) for column in zip(*ratios, strict=True))
    rows.append(["median", "", "", f"{one:.2f}", "", f"{ten:.2f}"])
    notes = [
        f"The same {count:,} messages in an empty database each time. Bare: one table with nothing "
        f"but its primary key, {BARE_BATCH} rows a commit, synchronous=FULL, the same driver.",
        f"Fairlead: {_MANY} callers at once through BatchedThreadWriter, each waiting for COMMIT; "
        "log, projections and search index included.",
        f"Goal: at least {GOAL} × bare: {_verdict(one)} with one message a call, "
        f"{_verdict(ten)} with ten.",
    ]
    return Table("Durable writes against a bare insert", _DURABLE_HEADS, rows, notes), figures


def _verdict(share: float) -> str:
    return f"met ({share:.2f})" if share >= GOAL else f"missed ({share:.2f})"


async def _written(store: BenchStore, count: int, each: int, seed: int) -> Appends:
    async with batched(store, _MANY) as write:
        return await append(write, fresh_messages(count, seed), _MANY, each)


def fsync_note(folder: Path) -> str:
    """What the disk takes to make 4 KiB safe: commits cannot be quicker."""
    times = []
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    path.unlink()
    return f"fdatasync of 4 KiB on this disk: p50 {statistics.median(times):.2f} ms"

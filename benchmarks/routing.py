"""Where requests go, and what it does to prefix caches: `python -m benchmarks.routing --quick`.

A recorded trace under several policies: in virtual time, and as real HTTP through routers and a
node. `docs/traffic.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.fleet import Yard
from benchmarks.load import spread
from benchmarks.machine import BenchmarkError, Cores, pinned, raise_file_limit
from benchmarks.measure import quantile
from benchmarks.policies import POLICIES
from benchmarks.routing_http import SPEED, TOKENS_PER_EVENT, entrances, replay_http, sglang_version
from benchmarks.sheet import Sheet, Table, options_of, run
from benchmarks.simulation import ModelServers, Outcome, replay
from benchmarks.traces import DEFAULT_TRACE, TraceRequest, ceiling, load_trace

_SIZES, _QUICK_SIZES = (3_000, 6_000, 12_000), (6_000,)
_NAMINGS = 5
_HTTP_REQUESTS, _QUICK_HTTP_REQUESTS = 2_000, 600
_HTTP_BLOCKS = 3_000
_OURS = "Fairlead"
_HEADS = (
    "blocks a server",
    "policy",
    "hit rate",
    "spills",
    "in flight, max ÷ mean",
    "served, max ÷ mean",
    "work, max ÷ mean",
    "first token p50",
    "first token p99",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 2 wrong usage."""
    return run("routing", _options(arguments), _measure)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--trace", type=Path, default=DEFAULT_TRACE, metavar="FILE")
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument(
        "--cache-blocks", type=int, metavar="N", help="one size of the prefix caches, not several"
    )
    parser.add_argument("--only", choices=("virtual", "http"), help="one of the two replays")
    variable = "FAIRLEAD_BENCH_SGLANG"
    parser.add_argument(
        "--sglang-python",
        default=os.environ.get(variable),
        metavar="PATH",
        help=f"Python of the environment that has SGLang's router (or {variable})",
    )
    options = options_of(parser, arguments)
    if options.servers < 1 or (options.cache_blocks or 1) < 1:
        parser.error("--servers and --cache-blocks must be at least 1")
    return options


def _measure(options: argparse.Namespace, sheet: Sheet, console: Console) -> None:
    trace = load_trace(options.trace)
    sheet.notes.append(
        f"Trace: {options.trace.name}, {len(trace):,} requests, "
        f"{sum(len(request.blocks) for request in trace):,} blocks of 512 tokens; one cache of "
        f"unlimited size would find {ceiling(trace):.1%} of them."
    )
    if options.only != "http":
        sheet.tables.append(_virtual(options, trace, sheet, console))
    if options.only != "virtual":
        sheet.tables.append(_http(options, trace, sheet, console))


def _virtual(
    options: argparse.Namespace, trace: Sequence[TraceRequest], sheet: Sheet, console: Console
) -> Table:
    sizes = _QUICK_SIZES if options.quick else _SIZES
    sizes = (options.cache_blocks,) if options.cache_blocks else sizes
    namings = range(options.seed, options.seed + (1 if options.quick else _NAMINGS))
    rows, notes = [], []
    for size in sizes:
        machines = ModelServers(options.servers, size)
        found: dict[str, Outcome] = {}
        for name, make in POLICIES.items():
            console.print(f"Virtual time: {size:,} blocks, {name} …")
            found[name] = _mean([replay(trace, machines, make, seed) for seed in namings])
            rows.append(_row(f"{size:,}", name, found[name], 1.0, "s"))
            sheet.figures.append(_figures("virtual", size, name, found[name]))
        notes.append(f"{size:,} blocks: {verdict(found, _OURS)}")
    return Table(
        f"In virtual time, {options.servers} servers",
        _HEADS,
        rows,
        [
            *notes,
            f"Figures are means over {len(namings)} of the ways to name the sessions: what a hash "
            "makes of a name is chance.",
            "Each server prefills 30 blocks a second, one prompt after another, and decodes 40 "
            "tokens a second, all prompts side by side.",
        ],
    )


def _http(
    options: argparse.Namespace, trace: Sequence[TraceRequest], sheet: Sheet, console: Console
) -> Table:
    part = trace[: _QUICK_HTTP_REQUESTS if options.quick else _HTTP_REQUESTS]
    machines = ModelServers(options.servers, options.cache_blocks or _HTTP_BLOCKS)
    cores = Cores.choose()
    raise_file_limit()
    rows, notes = [], []
    found: dict[str, Outcome] = {}
    if options.sglang_python is None:
        notes.append("SGLang's router is not in this run: no --sglang-python was given.")
    else:
        sheet.versions["sglang-router"] = sglang_version(options.sglang_python)
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as directory, pinned(cores.load):
        yard = Yard(Path(directory), cores)
        for name, opening in entrances(options.sglang_python).items():
            console.print(f"HTTP: {name} …")
            try:
                outcome, failed = replay_http(part, machines, opening, yard)
            except (BenchmarkError, OSError) as error:
                notes.append(f"{name}: {error}")
                continue
            if failed:
                notes.append(f"{name}: {failed} of {len(part)} requests failed.")
            found[name] = outcome
            rows.append(_row(f"{machines.cache_blocks:,}", name, outcome, 1e3, "ms"))
            sheet.figures.append(_figures("http", machines.cache_blocks, name, outcome))
    if "Fairlead node" in found:
        notes.insert(0, verdict(found, "Fairlead node"))
    return Table(
        f"Over HTTP, the first {len(part):,} requests, {SPEED:.0f} times faster than recorded",
        _HEADS,
        rows,
        [
            *notes,
            f"Of these requests one unlimited cache would find {ceiling(part):.1%}. Answers have "
            f"1/{TOKENS_PER_EVENT} of their tokens at 1/{TOKENS_PER_EVENT} of the pace.",
            "The simulated upstreams prefill all prompts side by side, so the time to first token "
            "shows what the cache saved and what the way added, not queues for prefill.",
        ],
    )


def verdict(found: dict[str, Outcome], ours: str) -> str:
    """Whether ours has the best hit rate and the smallest load of those that come near it."""
    own = found[ours]
    best, other = max(
        ((name, one) for name, one in found.items() if name != ours),
        key=lambda entry: entry[1].hit_rate,
    )
    return (
        f"{ours} finds {own.hit_rate:.2%}, the best other ({best}) {other.hit_rate:.2%} "
        f"({(own.hit_rate - other.hit_rate) * 100:+.2f} points), at a maximum load of "
        f"{own.load_ratio:.2f} against {other.load_ratio:.2f} x mean."
    )


def _mean(outcomes: Sequence[Outcome]) -> Outcome:
    """The mean of several runs; times to first token are pooled."""
    spills = [one.spills for one in outcomes if one.spills is not None]
    return Outcome(
        hit_rate=statistics.mean(one.hit_rate for one in outcomes),
        first_tokens=[seconds for one in outcomes for seconds in one.first_tokens],
        served=[statistics.mean(sorted_parts) for sorted_parts in _ranked(outcomes, "served")],
        work=[statistics.mean(sorted_parts) for sorted_parts in _ranked(outcomes, "work")],
        load_ratio=statistics.mean(one.load_ratio for one in outcomes),
        spills=round(statistics.mean(spills)) if spills else None,
    )


def _ranked(outcomes: Sequence[Outcome], name: str) -> list[tuple[float, ...]]:
    # By rank: which server is the busiest differs from run to run, and must not average out.
    return list(zip(*(sorted(getattr(one, name)) for one in outcomes), strict=True))


def _row(size: str, name: str, outcome: Outcome, scale: float, unit: str) -> list[str]:
    times = [seconds * scale for seconds in outcome.first_tokens]
    digits = 2 if unit == "s" else 1
    return [
        size,
        name,
        f"{outcome.hit_rate:.1%}",
        "–" if outcome.spills is None else str(outcome.spills),
        f"{outcome.load_ratio:.2f}",
        f"{spread(outcome.served):.2f}",
        f"{spread(outcome.work):.2f}",
        f"{statistics.median(times):.{digits}f} {unit}",
        f"{quantile(times, 0.99):.{digits}f} {unit}",
    ]


def _figures(kind: str, size: int, name: str, outcome: Outcome) -> dict[str, object]:
    times = outcome.first_tokens
    return asdict(outcome) | {
        "replay": kind,
        "cache_blocks": size,
        "policy": name,
        "first_tokens": {"p50": statistics.median(times), "p99": quantile(times, 0.99)},
    }


if __name__ == "__main__":
    sys.exit(main())

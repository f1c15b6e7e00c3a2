"""Twice what the upstreams can do: `python -m benchmarks.overload --quick`.

Two simulated upstreams that refuse what is beyond their limit, first at their peak, then under
twice that load, directly and through a node. `docs/traffic.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks.calls import Door
from benchmarks.fleet import Shape, Yard, metrics_of, start_node, start_upstreams
from benchmarks.machine import Cores, pinned, raise_file_limit
from benchmarks.measure import MEGABYTE, quantile
from benchmarks.pressure import CLASSES, Fate, Pressure, Target, peak_rate, shown_refusals
from benchmarks.processes import Child
from benchmarks.sheet import Sheet, Table, options_of, run

_UPSTREAMS, _AT_A_TIME, _SERVICE = 2, 16, 0.3
_OVERLOAD = 2.0
_SAMPLE_SECONDS = 0.5
_KNOWN_LIMIT = f"limit = {_AT_A_TIME}\nadaptive = false"


@dataclass
class Found:
    """What came of one overload. Seconds; `fresh` are waits of new sessions after the end."""

    fates: dict[str, Fate]
    fresh: list[float]
    longest_queue: int | None = None
    rss: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def offered(self) -> int:
        """Requests of all classes."""
        return sum(fate.offered for fate in self.fates.values())

    @property
    def served(self) -> int:
        """Those that were answered with 200 while the load lasted."""
        return sum(len(fate.served) for fate in self.fates.values())

    @property
    def refused(self) -> Counter[int]:
        """Refusals of all classes by status."""
        return sum((fate.refused for fate in self.fates.values()), Counter())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument(
        "--shape",
        choices=("anthropic", "openai"),
        default="anthropic",
        help="the upstreams' API: refuses with 529 (default) or 429",
    )
    parser.add_argument("--seconds", type=float, help="of overload; 60, or 8 with --quick")
    return run("overload", options_of(parser, arguments), _measure)


def _measure(options: argparse.Namespace, sheet: Sheet, console: Console) -> None:
    seconds = options.seconds or (8.0 if options.quick else 60.0)
    raise_file_limit()
    cores = Cores.choose()
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as directory, pinned(cores.load):
        bench = _Overload(Yard(Path(directory), cores), options.shape, seconds, options.seed)
        console.print("Peak …")
        bench.measure_peak()
        for title, settings in _SETTINGS.items():
            console.print(f"{_OVERLOAD:.0f} × overload for {seconds:.0f} s: {title} …")
            found[title] = bench.overload(settings)
    sheet.tables += [_summary(found, bench), _by_class(found)]
    sheet.figures += [_figures(title, one, bench) for title, one in found.items()]


_SETTINGS: dict[str, str | None] = {
    "direct, round robin": None,
    "node, limit known": _KNOWN_LIMIT,
    "node, limit adaptive": "",
}
"""Lines for the node's `[[upstreams]]` table; None for no node."""


class _Overload:
    def __init__(self, yard: Yard, shape: Shape, seconds: float, seed: int) -> None:
        self.peak = 0.0
        self.seconds = seconds
        self._yard, self._shape, self._seed = yard, shape, seed

    def measure_peak(self) -> None:
        """What the upstreams serve when each has just as many callers as it takes at a time."""
        with ExitStack() as stack, _runner() as runner:
            urls = self._upstreams(stack)
            self.peak = runner.run(self._peak(urls))

    async def _peak(self, urls: Sequence[str]) -> float:
        async with AsyncExitStack() as stack:
            doors = [await stack.enter_async_context(Door(url)) for url in urls]
            targets = [Target([door], self._shape) for door in doors]
            return await peak_rate(targets, _AT_A_TIME, max(3.0, self.seconds / 6))

    def overload(self, settings: str | None) -> Found:
        """The whole load, on upstreams and a node of its own."""
        with ExitStack() as stack, _runner() as runner:
            urls = self._upstreams(stack)
            node = None
            if settings is not None:
                url, node = start_node(
                    self._yard, urls, stack, shape=self._shape, upstream=settings
                )
                urls = [url]
            return runner.run(self._press(urls, node))

    def _upstreams(self, stack: ExitStack) -> list[str]:
        options = {
            "ttft": _SERVICE,
            "prefill": 0.0,
            "tokens-per-second": 0,
            "max-concurrency": _AT_A_TIME,
        }
        return start_upstreams(self._yard, _UPSTREAMS, options, stack)

    async def _press(self, urls: Sequence[str], node: Child | None) -> Found:
        async with AsyncExitStack() as stack:
            doors = [await stack.enter_async_context(Door(url)) for url in urls]
            asking = await stack.enter_async_context(Door(urls[0], keep_bodies=True))
            target = Target(doors, self._shape)
            pressure = Pressure(target, _OVERLOAD * self.peak, self._seed)
            found = Found(pressure.fates, [])
            sampling = asyncio.create_task(_sample(found, asking, node))
            try:
                await pressure.hold(self.seconds)
                found.fresh.append(await _fresh(target, "amid those that wait"))
                await pressure.release()
                found.fresh.append(await _fresh(target, "alone"))
                if node is not None:
                    found.metrics = await metrics_of(asking)
            finally:
                sampling.cancel()
                await pressure.release()
                with contextlib.suppress(asyncio.CancelledError):  # it was just asked to end
                    await sampling
        return found


async def _fresh(target: Target, session: str) -> float:
    """Seconds that the first request of a new session waits longer than its service."""
    call = await target.ask(session, "normal")
    return call.seconds - _SERVICE if call.ok else float("inf")


async def _sample(found: Found, asking: Door, node: Child | None) -> None:
    while node is not None:
        metrics = await metrics_of(asking)
        queue = int(metrics.get("fairlead_queue_waiting", 0))
        found.longest_queue = max(found.longest_queue or 0, queue)
        found.rss = max(found.rss or 0, node.usage().rss_bytes)
        await asyncio.sleep(_SAMPLE_SECONDS)


def _summary(found: dict[str, Found], bench: _Overload) -> Table:
    heads = ["", "offered/s", "served/s", "of peak", "refused", "retries", "longest queue"]
    heads += ["memory", "fresh request at the end", "and others gone"]
    rows = []
    for title, one in found.items():
        figures = _figures(title, one, bench)
        rows.append(
            [
                title,
                f"{figures['offered_rate']:.0f}",
                f"{figures['served_rate']:.0f}",
                f"{figures['of_peak']:.0%}",
                shown_refusals(one.refused),
                "–" if not one.metrics else f"{figures['retries']:.1%}",
                "–" if one.longest_queue is None else f"{one.longest_queue:,}",
                "–" if one.rss is None else f"{one.rss / MEGABYTE:.0f} MB",
                *(_waited(seconds) for seconds in one.fresh),
            ]
        )
    return Table(
        f"{_OVERLOAD:.0f} × the upstreams' peak for {bench.seconds:.0f} s",
        heads,
        rows,
        [
            f"Peak: {bench.peak:.0f} answers a second, measured directly with as many callers as "
            f"the {_UPSTREAMS} upstreams take at a time ({_AT_A_TIME} each, {_SERVICE:g} s an "
            "answer). Refusals by status. Retries are the node's, as a share of requests.",
            "Fresh: what a new session's request waits longer than its service when no more come: "
            "at once, while those that wait stay; then when those have hung up.",
        ],
    )


def _waited(seconds: float) -> str:
    return "refused" if seconds == float("inf") else f"{max(0.0, seconds):.2f} s"


def _by_class(found: dict[str, Found]) -> Table:
    rows = []
    for title, one in found.items():
        for name, fate in one.fates.items():
            times = fate.served or [float("nan")]
            rows.append(
                [
                    title,
                    name,
                    f"{fate.offered:,}",
                    f"{len(fate.served) / max(1, fate.offered):.0%}",
                    shown_refusals(fate.refused),
                    f"{fate.unanswered:,}",
                    f"{statistics.median(times):.2f} s",
                    f"{quantile(times, 0.99):.2f} s",
                ]
            )
    heads = ["", "class", "offered", "served", "refused", "waiting at the end", "p50", "p99"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in CLASSES.items())
    return Table("By class", heads, rows, [f"The load: {shares}."])


def _figures(title: str, one: Found, bench: _Overload) -> dict[str, object]:
    attempts = one.metrics.get("fairlead_upstream_attempts_total", 0.0)
    return {
        "target": title,
        "peak": bench.peak,
        "offered_rate": one.offered / bench.seconds,
        "served_rate": one.served / bench.seconds,
        "of_peak": one.served / bench.seconds / bench.peak,
        "retries": one.metrics.get("fairlead_retries_total", 0.0) / max(1, one.offered),
        "attempts": attempts / max(1, one.offered),
        "longest_queue": one.longest_queue,
        "rss_bytes": one.rss,
        "fresh_seconds": [None if wait == float("inf") else wait for wait in one.fresh],
        "classes": {
            name: {
                "offered": fate.offered,
                "served": len(fate.served),
                "refused": dict(fate.refused),
                "unanswered": fate.unanswered,
            }
            for name, fate in one.fates.items()
        },
    }


def _runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main())

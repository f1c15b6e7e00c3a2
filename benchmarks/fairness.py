"""What heavy users cost light ones: `python -m benchmarks.fairness --quick`.

Sixteen flows with eight tasks each going all the time, against one, four and sixteen flows that
have one task now and then. The real `AdaptiveQueueManager` on a clock of its own, and the same
through a node over HTTP. `docs/traffic.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import uvloop
from rich.console import Console

from benchmarks.crowds import Crowd, Stage, Task, Waits
from benchmarks.fairness_http import SERVICE, FairnessNode, Naming
from benchmarks.machine import BenchmarkError
from benchmarks.measure import quantile
from benchmarks.sheet import Sheet, Table, options_of, run
from fairlead.core.clock import Clock
from fairlead.testing import ManualClock
from fairlead.traffic.admission import QueueOptions
from fairlead.traffic.queue import AdaptiveQueueManager

_HEAVY, _LIGHTS, _HTTP_LIGHT = 16, (1, 4, 16), 4
_LIMIT = 8
_WARMING = 30.0
_STEP = 1.0
_PATIENCE = 3_600.0
_HEADS = (
    "light flows",
    "order",
    "light wait p50",
    "light wait p99",
    "light, all p99",
    "÷ alone",
    "heavy wait p50",
    "heavy wait p99",
    "tasks",
    "of them light",
)


class Order(Protocol):
    """Who goes next."""

    async def enter(self, flow: str) -> Callable[[], None]:
        """Wait for a slot; what is returned gives it back."""
        ...


class Fifo:
    """First come, first served: a semaphore."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_LIMIT)

    async def enter(self, flow: str) -> Callable[[], None]:  # noqa: ARG002 - the contract
        """The next slot."""
        await self._slots.acquire()
        return self._slots.release


class Fair:
    """The node's own queue with its default options, but for the limit and endless patience."""

    def __init__(self, queue: AdaptiveQueueManager) -> None:
        self._queue = queue

    async def enter(self, flow: str) -> Callable[[], None]:
        """The next slot of this flow."""
        return (await self._queue.enter(flow)).release


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    return run("fairness", options_of(parser, arguments), _measure)


def _measure(options: argparse.Namespace, sheet: Sheet, console: Console) -> None:
    sheet.tables.append(_virtual(options, sheet, console))
    sheet.tables.append(_http(options, sheet, console))


def _virtual(options: argparse.Namespace, sheet: Sheet, console: Console) -> Table:
    seconds, deals = (120.0, 3) if options.quick else (600.0, 10)
    seeds = range(options.seed, options.seed + deals)
    rows = []
    for light in _LIGHTS:
        alone = _pooled(Crowd(0, light), seconds, seeds, fair=True)
        for title, fair in (("FIFO", False), ("Fairlead", True)):
            console.print(f"Virtual time: {_HEAVY} heavy, {light} light, {title} …")
            waits = _pooled(Crowd(_HEAVY, light), seconds, seeds, fair=fair)
            rows.append(_row(light, title, waits, alone))
            sheet.figures.append(_figures("virtual", light, title, waits, alone))
    return Table(
        f"In virtual time: {_HEAVY} heavy flows, {_LIMIT} tasks at a time",
        _HEADS,
        rows,
        [
            f"All times in service times (mean 1, evenly from 0.5 to 1.5); {deals} runs of "
            f"{seconds:.0f} with other names, which decide who shares queues with whom.",
            "A heavy flow has eight tasks waiting or running all the time; a light flow one, then "
            "thinks for ten service times on average. Alone: the light flows without heavy ones.",
        ],
    )


def _pooled(crowd: Crowd, seconds: float, seeds: Sequence[int], *, fair: bool) -> Waits:
    pooled = Waits()
    for seed in seeds:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            pooled.pool(runner.run(meet(crowd, seconds, seed, fair=fair)))
    return pooled


async def meet(crowd: Crowd, seconds: float, seed: int, *, fair: bool) -> Waits:
    """One run in virtual time, in the fair order or first come, first served."""
    clock = ManualClock()
    options = QueueOptions(limit=_LIMIT, timeout=_PATIENCE)
    async with AdaptiveQueueManager(options, clock=clock) as queue:
        order: Order = Fair(queue) if fair else Fifo()
        stage = Stage(clock, _task_in(order, clock), 1.0, seed)
        running = asyncio.create_task(stage.gather(crowd, seconds, _WARMING))
        while not running.done():
            await clock.advance(_STEP)
        return running.result()


def _task_in(order: Order, clock: Clock) -> Task:
    async def task(flow: str, chance: random.Random) -> tuple[float, float] | None:
        # Drawn before the wait: the same tasks in either order.
        service = chance.uniform(0.5, 1.5)
        asked = clock.monotonic()
        leave = await order.enter(flow)
        began = clock.monotonic()
        try:
            await clock.sleep(service)
        finally:
            leave()
        return began - asked, clock.monotonic() - asked

    return task


def _http(options: argparse.Namespace, sheet: Sheet, console: Console) -> Table:
    seconds = 5.0 if options.quick else 60.0
    crowd = Crowd(_HEAVY, _HTTP_LIGHT)
    rows, failed = [], 0
    with FairnessNode(_LIMIT) as node:
        console.print("HTTP: the light flows alone …")
        alone = node.meet(Crowd(0, _HTTP_LIGHT), seconds, options.seed, str)
        namings: dict[str, Naming] = {
            "node, all one user": lambda _: "everybody",
            "node, told apart": str,
        }
        for title, naming in namings.items():
            console.print(f"HTTP: {title} …")
            waits = node.meet(crowd, seconds, options.seed, naming)
            failed += waits.failed
            rows.append(_row(_HTTP_LIGHT, title, waits, alone))
            sheet.figures.append(_figures("http", _HTTP_LIGHT, title, waits, alone))
    return Table(
        f"Through a node over HTTP: {_HEAVY} heavy flows, {_LIMIT} requests at a time",
        _HEADS,
        rows,
        [
            f"A service takes {SERVICE * 1e3:.0f} ms on average, evenly from 0.5 to 1.5 times "
            "that; waits are what the node says in `x-fairlead-queue-ms`. Users are told apart "
            "by `x-claude-code-session-id`.",
            *([f"{failed} requests were refused or failed."] if failed else []),
        ],
    )


def _row(light: int, title: str, waits: Waits, alone: Waits) -> list[str]:
    figures = _figures("", light, title, waits, alone)
    shown = [f"{figures[name]:.2f}" for name in _SHOWN]
    tasks = len(waits.totals["heavy"]) + len(waits.totals["light"])
    return [str(light), title, *shown, f"{tasks:,}", f"{len(waits.totals['light']):,}"]


_SHOWN = ("light_p50", "light_p99", "light_total_p99", "ratio", "heavy_p50", "heavy_p99")


def _figures(
    kind: str, light: int, title: str, waits: Waits, alone: Waits
) -> dict[str, float | str]:
    if not waits.totals["light"] or not alone.totals["light"]:
        raise BenchmarkError(f"{title}: no task of a light flow came to its end")
    total = quantile(waits.totals["light"], 0.99)
    return {
        "kind": kind,
        "light_flows": light,
        "order": title,
        "light_p50": statistics.median(waits.waits["light"]),
        "light_p99": quantile(waits.waits["light"], 0.99),
        "light_total_p99": total,
        "alone_total_p99": quantile(alone.totals["light"], 0.99),
        "ratio": total / quantile(alone.totals["light"], 0.99),
        "heavy_p50": statistics.median(waits.waits["heavy"]),
        "heavy_p99": quantile(waits.waits["heavy"], 0.99),
    }


if __name__ == "__main__":
    sys.exit(main())

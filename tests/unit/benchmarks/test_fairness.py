"""The virtual part of the fairness benchmark."""

from __future__ import annotations

import statistics

from benchmarks.crowds import Crowd
from benchmarks.fairness import meet


async def test_alone_nobody_waits() -> None:
    waits = await meet(Crowd(heavy=0, light=2), 100.0, 1, fair=True)

    assert waits.waits["light"]
    assert max(waits.waits["light"]) == 0.0
    assert all(0.5 <= total <= 1.5 for total in waits.totals["light"])


async def test_first_come_first_served_makes_everybody_wait_for_the_heavy_ones() -> None:
    waits = await meet(Crowd(heavy=1, light=2, tasks=80), 100.0, 1, fair=False)

    # 80 tasks, 8 at a time: a newcomer waits for about nine rounds.
    assert 8 < statistics.median(waits.waits["light"]) < 10


async def test_the_fair_order_lets_light_flows_pass_one_heavy_one() -> None:
    waits = await meet(Crowd(heavy=1, light=2, tasks=80), 100.0, 1, fair=True)

    assert statistics.median(waits.waits["light"]) < 1
    assert statistics.median(waits.waits["heavy"]) > 8

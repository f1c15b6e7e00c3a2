"""What the benchmark of conversations is made of: data, an interaction, growing prompts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks.conversations_data import LONG, Plan
from benchmarks.conversations_growth import grow
from benchmarks.conversations_interaction import WAYS, counts
from benchmarks.conversations_steps import interactions
from benchmarks.conversations_writes import append, bare_commits, bare_insert, fresh_messages
from benchmarks.machine import BenchmarkError
from rich.console import Console

from fairlead.conversations.sqlite import SqliteThreadStore

QUIET = Console(quiet=True)


def test_a_plan_has_the_messages_that_were_asked_for() -> None:
    plan = Plan(threads=500, messages=30_011, seed=1)

    assert len(plan.sizes) == 500
    assert sum(plan.sizes) == 30_011
    assert plan.sizes[:4] == [LONG, LONG, LONG, plan.sizes[-1] + 1]


@pytest.mark.parametrize(("threads", "messages"), [(10, 9_999), (1, 10_000), (9_500, 10_000)])
def test_a_plan_that_cannot_be_is_refused(threads: int, messages: int) -> None:
    with pytest.raises(BenchmarkError):
        Plan(threads, messages, seed=1)


def test_interactions_come_in_the_order_of_their_times() -> None:
    steps = interactions(3, seed=1)

    assert [step.time for step in steps] == sorted(step.time for step in steps)
    assert len({step.operation.thread for step in steps}) == 3 * 4
    assert len(steps) == 3 * (6 + 3 * 4 + 2)


async def test_every_way_writes_the_same_and_gathering_takes_the_fewest(tmp_path: Path) -> None:
    steps = interactions(1, seed=1)
    changes = sum(not step.fresh for step in steps)
    threads = len({step.operation.thread for step in steps})

    each_message, each_exchange, gathered = [
        await counts(way, SqliteThreadStore(tmp_path / f"{number}"), steps)
        for number, way in enumerate(WAYS.values())
    ]

    assert each_message.transactions == each_message.messages + changes + threads
    assert each_exchange.transactions == len(steps)
    assert gathered.transactions < each_exchange.transactions
    assert gathered.statements < each_exchange.statements < each_message.statements


async def test_what_is_repeated_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "growth.sqlite"
    async with SqliteThreadStore(path) as store:
        points = await grow(store, path, sessions=3, turns=80, seed=1, console=QUIET)

    quarters = list(pairwise(points))
    sent = [later.sent - sooner.sent for sooner, later in quarters]
    logged = [(later.log - sooner.log) / (later.new - sooner.new) for sooner, later in quarters]
    assert sent[2] > 1.5 * sent[0]
    assert logged[2] == pytest.approx(logged[0], rel=0.1)
    # Closed, the file holds everything: less than a tenth of what was sent.
    assert points[-1].at(path).file < points[-1].sent / 10


async def test_callers_share_the_messages_among_them(tmp_path: Path) -> None:
    messages = fresh_messages(70, seed=1)

    async with bare_commits(tmp_path / "bare") as write:
        took = await append(write, messages, callers=4, each=10)

    assert (took.rows, len(took.waits)) == (70, 7)
    assert bare_insert(tmp_path / "other", messages).rows == 70

"""The power goes at every moment that counts: what was acknowledged is there afterwards."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from fairlead.conversations.records import ThreadEvent, Written
from fairlead.conversations.sqlite import SqliteThreadStore
from support.threadwork import Workload, flaws, logs
from support.vfs import Disk, RecordingVfs, power_cuts, recording

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATIONS = 200
PARTS = 4
FILE = "conversations.sqlite"

Versions = dict[str, int]
"""How many events each thread has."""


class Run:
    """A whole run as it was recorded: what happened on the disk, and what the log should be."""

    def __init__(self, vfs: RecordingVfs) -> None:
        self.vfs = vfs
        self.versions: list[Versions] = [{}]
        """After none, one, two … operations."""
        self.logs: dict[str, list[ThreadEvent]] = {}

    async def record(self, path: Path, synchronous: Literal["FULL", "NORMAL"]) -> None:
        """Apply the operations one after another and close."""
        store = SqliteThreadStore(path, synchronous=synchronous, vfs=self.vfs.name)
        await store.open()
        for number, operation in enumerate(Workload(1).take(OPERATIONS), 1):
            (outcome,) = await store.apply([operation])
            self.vfs.acknowledge(number)
            assert isinstance(outcome, Written), outcome
            self.versions.append(self.versions[-1] | {outcome.head.id: outcome.head.version})
        self.logs = await logs(store)
        await store.close()

    def expected(self, operations: int) -> dict[str, list[ThreadEvent]]:
        """The log after the first `operations`."""
        versions = self.versions[operations]
        return {thread: self.logs[thread][:version] for thread, version in versions.items()}


async def recorded(folder: Path, synchronous: Literal["FULL", "NORMAL"]) -> Run:
    place = folder / "live"
    place.mkdir()
    with recording(f"power-cut-{synchronous}") as vfs:
        run = Run(vfs)
        await run.record(place / FILE, synchronous)
    return run


async def faults(run: Run, disk: Disk, folder: Path, chance: random.Random | None) -> list[str]:
    """What is wrong after the power has gone at this moment and come back."""
    disk.cut(folder, chance)
    store = SqliteThreadStore(folder / FILE)
    await store.open()
    try:
        found = [*await store.check(), *await flaws(store)]
        left = await logs(store)
    finally:
        await store.close()
    # The operation that was under way may have become durable or not, but only as a whole.
    possible = range(disk.acknowledged, min(disk.acknowledged + 1, OPERATIONS) + 1)
    if left not in [run.expected(operations) for operations in possible]:
        events = sum(map(len, left.values()))
        found.append(f"{events} events are left after {disk.acknowledged} operations")
    return found


def chances(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - which sectors survive is no secret


async def faults_of(
    run: Run, folder: Path, moments: Sequence[int] | None, seed: int | None = None
) -> dict[int, list[str]]:
    """The moments at which the power may not go; all are tried where none are named."""
    found = {}
    for moment, disk in enumerate(power_cuts(run.vfs.trace)):
        if moments is None or moment in moments:
            chance = None if seed is None else chances(seed + moment)
            if wrong := await faults(run, disk, folder / f"cut-{moment}", chance):
                found[moment] = wrong
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return await recorded(tmp_path_factory.mktemp("full"), "FULL")


@pytest.mark.parametrize("part", range(PARTS))
async def test_nothing_acknowledged_is_lost_at_any_sync(
    run: Run, tmp_path: Path, part: int
) -> None:
    moments = range(part, moments_of(run), PARTS)

    assert len(moments) >= OPERATIONS / PARTS
    assert await faults_of(run, tmp_path, moments) == {}


async def test_sectors_that_survive_by_chance_do_no_harm(run: Run, tmp_path: Path) -> None:
    moments = range(0, moments_of(run), 5)

    assert await faults_of(run, tmp_path, moments, seed=1) == {}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
async def test_sectors_that_survive_by_chance_at_every_sync(
    run: Run, tmp_path: Path, seed: int
) -> None:
    assert await faults_of(run, tmp_path, None, seed=seed * 10_000) == {}


async def test_without_a_sync_at_each_commit_the_same_run_loses_something(tmp_path: Path) -> None:
    run = await recorded(tmp_path, "NORMAL")

    found = await faults_of(run, tmp_path, None)

    assert found
    # What is left is sound and whole all the same: only the latest operations are missing.
    assert {len(wrong) for wrong in found.values()} == {1}
    assert all("events are left after" in text for (text,) in found.values())


def moments_of(run: Run) -> int:
    return sum(1 for _ in power_cuts(run.vfs.trace))

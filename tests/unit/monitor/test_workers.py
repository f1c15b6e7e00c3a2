from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairlead.core.histogram import Histogram
from fairlead.monitor.base import Snapshot
from fairlead.monitor.workers import FAILURES, WorkerSnapshots, clear_run_directory
from fairlead.testing.clock import ManualClock

COUNT = "fairlead_client_disconnects_total"
GAUGE = "fairlead_inflight_requests"
DURATION = "fairlead_request_duration_seconds"


class Worker:
    """A worker with one counter, one gauge and one histogram."""

    def __init__(self, directory: Path, place: str, clock: ManualClock) -> None:
        self.count = 0
        self.snapshots = WorkerSnapshots(
            directory, place, self.collect, complete=self.completed, clock=clock
        )

    def collect(self) -> Snapshot:
        snapshot = Snapshot()
        snapshot.set(COUNT, self.count)
        snapshot.set(GAUGE, 1)
        histogram = Histogram.empty((1.0,))
        histogram.observe(0.5)
        snapshot.add_histogram(DURATION, histogram, "other", "miss")
        return snapshot

    def completed(self, snapshot: Snapshot) -> None:
        snapshot.set("process_open_fds", 10)

    async def write(self) -> None:
        await self.snapshots._write(live=True)

    def merged(self) -> Snapshot:
        return self.snapshots.merged(self.collect())


def modes(directory: Path) -> dict[str, int]:
    files = {path.name: path.stat().st_mode & 0o777 for path in directory.glob("*.metrics")}
    return files | {".": directory.stat().st_mode & 0o777}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    clear_run_directory(tmp_path / "run")
    return tmp_path / "run"


async def test_any_worker_shows_the_sum(directory: Path) -> None:
    clock = ManualClock()
    workers = [Worker(directory, str(place), clock) for place in range(3)]
    for number, worker in enumerate(workers, 1):
        worker.count = number
        await worker.write()
    for worker in workers:
        whole = worker.merged()
        assert whole.numbers[COUNT] == {(): 6}
        assert whole.numbers[GAUGE] == {(): 3}
        assert whole.histograms[DURATION]["other", "miss"].count == 3


async def test_the_scraped_worker_is_up_to_date_about_itself(directory: Path) -> None:
    worker = Worker(directory, "0", ManualClock())
    await worker.write()
    worker.count = 5
    assert worker.merged().numbers[COUNT] == {(): 5}


async def test_of_a_worker_that_was_killed_the_counters_stay(directory: Path) -> None:
    clock = ManualClock()
    dead, alive = Worker(directory, "0", clock), Worker(directory, "1", clock)
    dead.count, alive.count = 4, 1
    await dead.write()
    await clock.advance(9)
    await alive.write()
    assert alive.merged().numbers[GAUGE] == {(): 2}
    await clock.advance(2)
    whole = alive.merged()
    assert whole.numbers[GAUGE] == {(): 1}
    assert whole.numbers[COUNT] == {(): 5}


async def test_its_successor_counts_on(directory: Path) -> None:
    clock = ManualClock()
    dead, other = Worker(directory, "0", clock), Worker(directory, "1", clock)
    dead.count = 4
    await dead.write()
    async with (successor := Worker(directory, "0", clock)).snapshots:
        successor.count = 2
        assert successor.merged().numbers[COUNT] == {(): 6}
        await successor.write()
        assert other.merged().numbers[COUNT] == {(): 6}
        assert other.merged().numbers[GAUGE] == {(): 2}


async def test_a_closed_worker_leaves_its_last_counts_and_no_gauge(directory: Path) -> None:
    clock = ManualClock()
    worker, other = Worker(directory, "0", clock), Worker(directory, "1", clock)
    async with worker.snapshots:
        worker.count = 3
    assert other.merged().numbers[COUNT] == {(): 3}
    assert other.merged().numbers[GAUGE] == {(): 1}


async def test_it_writes_once_an_interval(directory: Path) -> None:
    clock = ManualClock()
    worker, other = Worker(directory, "0", clock), Worker(directory, "1", clock)
    async with worker.snapshots:
        for count in (0, 7):
            worker.count = count
            async with asyncio.timeout(5):
                while other.merged().numbers[COUNT] != {(): count}:
                    await clock.advance(1)


async def test_nothing_is_written_after_the_last_word(directory: Path) -> None:
    clock = ManualClock()
    worker, other = Worker(directory, "0", clock), Worker(directory, "1", clock)
    async with worker.snapshots:
        pass
    await worker.write()
    assert other.merged().numbers[GAUGE] == {(): 1}


async def test_files_are_private_and_those_of_an_earlier_run_are_removed(directory: Path) -> None:
    worker = Worker(directory, "0", ManualClock())
    await worker.write()
    (directory / "1.metrics.new").write_bytes(b"torn")
    (directory / "other").write_bytes(b"not ours")
    assert modes(directory) == {".": 0o700, "0.metrics": 0o600}
    clear_run_directory(directory)
    assert names(directory) == ["other"]


async def test_a_damaged_file_is_counted_and_passed_over(directory: Path) -> None:
    worker = Worker(directory, "0", ManualClock())
    (directory / "1.metrics").write_bytes(b"\xc1 not msgpack")
    worker.merged()
    whole = worker.merged()
    assert whole.numbers[COUNT] == {(): 0}
    assert whole.numbers[FAILURES] == {(): 1}


async def test_a_directory_that_cannot_be_written_is_counted(directory: Path) -> None:
    worker = Worker(directory, "0", ManualClock())
    (directory / "0.metrics.new").mkdir()
    await worker.write()
    assert worker.snapshots.failures == 1


@pytest.mark.parametrize("place", ["", "../0", "a/b", "0.metrics", "x" * 65])
def test_a_place_must_be_usable_in_a_file_name(tmp_path: Path, place: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        WorkerSnapshots(tmp_path, place, Snapshot)

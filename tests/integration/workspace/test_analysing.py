"""`AnalysisWorkers` with real processes: what they find, and what happens when they are lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.errors import ClosedError, PoolTimeoutError
from fairlead.workspace import analysing
from fairlead.workspace.analysing import AnalysisWorkers, Worker, WorkerOptions, start_worker
from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.symbols import analyse

TESTS = Path(__file__).parents[2]


def sources(count: int) -> list[tuple[str, bytes]]:
    return [(f"m{n}.py", f"def f{n}(): return g{n}()\n".encode()) for n in range(count)]


def names(analyses: list[FileAnalysis] | tuple[FileAnalysis, ...]) -> list[str]:
    return [one.definitions[0].name if one.definitions else "" for one in analyses]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The workers in the order of their start."""
    found: list[Worker] = []

    async def start() -> Worker:
        found.append(await start_worker())
        return found[-1]

    monkeypatch.setattr(analysing, "start_worker", start)
    return found


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that some contents kill."""
    monkeypatch.setattr(analysing, "WORKER", "support.doomedworker")
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


async def test_every_file_has_its_analysis_in_order(started: list[Worker]) -> None:
    files = sources(40)
    async with AnalysisWorkers(WorkerOptions(processes=2, batch_files=3)) as workers:
        found = await workers(files)

        assert list(found) == [analyse(*file) for file in files]
        assert len(started) in {1, 2}  # the first may be quick enough
        assert await workers([]) == []
    assert all(worker.process.returncode is not None for worker in started)


async def test_contents_of_every_kind(started: list[Worker]) -> None:
    files = [
        ("empty.py", b""),
        ("binary.py", b"\0\1\2"),
        ("notes.txt", b"text"),
        ("broken.py", b"def f(:\n  class ("),
        ("latin.py", "# é\ndef f(): pass\n".encode("latin-1")),
        ("deep.py", b"(" * 5_000),
        ("large.py", b"x = 1\n" * 20_000),
        ("huge.py", b"#" * 2_000_000),
    ]
    async with AnalysisWorkers() as workers:
        assert list(await workers(files)) == [analyse(*file) for file in files]


async def test_a_worker_gives_way_and_imports_nothing_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Worker]
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('from the working directory')")
    monkeypatch.chdir(tmp_path)
    async with AnalysisWorkers() as workers:
        assert names(await workers(sources(1))) == ["f0"]
        pid = started[0].process.pid

        assert os.getpriority(os.PRIO_PROCESS, pid) >= 5
        assert os.getsid(pid) != os.getsid(0)


async def test_none_is_started_before_it_is_needed(started: list[Worker]) -> None:
    async with AnalysisWorkers(WorkerOptions(processes=4)) as workers:
        assert workers.statistics().size == 0
        await workers(sources(1))
        await workers(sources(1))

        assert len(started) == 1


async def test_one_that_is_idle_ends(started: list[Worker]) -> None:
    async with AnalysisWorkers(WorkerOptions(max_idle=0.001)) as workers:
        await workers(sources(1))
        await started[0].process.wait()

        assert names(await workers(sources(1))) == ["f0"]
        assert len(started) == 2


# ---- lost workers


async def test_one_that_is_killed_in_the_middle(started: list[Worker]) -> None:
    files = sources(30)
    async with AnalysisWorkers(WorkerOptions(processes=1)) as workers:
        await workers(files[:1])
        os.kill(started[0].process.pid, signal.SIGSTOP)
        analysis = asyncio.create_task(workers(files))
        await asyncio.sleep(0)
        os.kill(started[0].process.pid, signal.SIGKILL)

        assert list(await analysis) == [analyse(*file) for file in files]
        assert len(started) == 2
        assert workers.given_up == 0


async def test_one_that_is_killed_between_two_calls(started: list[Worker]) -> None:
    async with AnalysisWorkers(WorkerOptions(processes=1)) as workers:
        await workers(sources(1))
        os.kill(started[0].process.pid, signal.SIGKILL)
        await started[0].process.wait()

        assert names(await workers(sources(3))) == ["f0", "f1", "f2"]
        assert workers.given_up == 0


@pytest.mark.usefixtures("doomed")
@pytest.mark.parametrize("effect", [b"crash", b"leave", b"nonsense"])
async def test_a_file_that_kills_its_worker_costs_only_itself(
    effect: bytes, started: list[Worker]
) -> None:
    files = sources(6)
    files[2] = ("bad.py", effect)
    files[5] = ("worse.rs", effect)
    async with AnalysisWorkers(WorkerOptions(processes=2)) as workers:
        found = list(await workers(files))

        assert names(found) == ["f0", "f1", "", "f3", "f4", ""]
        assert found[2] == FileAnalysis("python", is_broken=True)
        assert found[5] == FileAnalysis("rust", is_broken=True)
        assert workers.given_up == 2
        assert names(await workers(sources(1))) == ["f0"]


@pytest.mark.usefixtures("doomed")
async def test_a_file_that_never_ends_costs_only_itself(started: list[Worker]) -> None:
    files = sources(5)
    files[1] = ("bad.py", b"hang")
    async with AnalysisWorkers(WorkerOptions(processes=1, file_deadline=1.5)) as workers:
        found = list(await workers(files))

        assert names(found) == ["f0", "", "f2", "f3", "f4"]
        assert found[1].is_broken
        assert started[0].process.returncode == -signal.SIGKILL


async def test_none_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysing, "WORKER", "fairlead.workspace.no_such_module")
    async with AnalysisWorkers(WorkerOptions(wait_deadline=1.5)) as workers:
        with pytest.raises(PoolTimeoutError, match="before it was ready"):
            await workers(sources(1))


# ---- cancelling and closing


@pytest.mark.usefixtures("doomed")
async def test_cancelling_ends_the_work_and_not_the_others(started: list[Worker]) -> None:
    async with AnalysisWorkers(WorkerOptions(processes=1)) as workers:
        stuck = asyncio.create_task(workers([*sources(1), ("bad.py", b"hang")]))
        await until(lambda: workers.statistics().in_use == 1)
        other = asyncio.create_task(workers(sources(2)))
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck

        assert names(await other) == ["f0", "f1"]
        assert started[0].process.returncode is not None


@pytest.mark.usefixtures("doomed")
async def test_closing_ends_all(started: list[Worker]) -> None:
    workers = AnalysisWorkers(WorkerOptions(processes=1))
    await workers.open()
    await workers(sources(1))
    stuck = asyncio.create_task(workers([("bad.py", b"hang")]))
    await until(lambda: workers.statistics().in_use == 1)
    await workers.close()

    assert started[0].process.returncode is not None
    with pytest.raises(ClosedError):
        await workers(sources(1))
    with pytest.raises(ClosedError):
        await stuck


async def test_a_worker_ends_with_its_input(started: list[Worker]) -> None:
    worker = await start_worker()
    worker._files.close()

    assert await worker.process.wait() == 0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)

"""`RepositoryAnalysisCache` as it is made without any argument, with processes, and with a file."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from fairlead.workspace import analysed, analysing
from fairlead.workspace.analyses import SqliteAnalysisStore
from fairlead.workspace.analysing import AnalysisWorkers, Worker, start_worker
from fairlead.workspace.base import Progress
from fairlead.workspace.mapoptions import RepositoryOptions
from fairlead.workspace.repository import RepositoryAnalysisCache
from fairlead.workspace.tokens import APPROXIMATE, TokenCounter, approximate
from support.repositories import SHOP, write


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
def estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are not counted exactly, which takes a second to load."""
    estimate = TokenCounter(APPROXIMATE, approximate)
    monkeypatch.setattr(analysed, "token_counter", lambda: estimate)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    files = {f"p{n % 7}/m{n}.py": f"def function_{n}(): pass\n" * 50 for n in range(300)}
    return write(tmp_path / "large", files)


@pytest.mark.filterwarnings("ignore:open_binary is deprecated")  # by the tokenizer's library
async def test_by_itself(tmp_path: Path, started: list[Worker]) -> None:
    async with RepositoryAnalysisCache(write(tmp_path, SHOP)) as repository:
        found = await repository.map()

        assert "class ShoppingCart" in found.text
        assert found.counted == "o200k_base"
        assert repository.statistics().analysed == len(SHOP) - 1
    assert started
    assert all(worker.process.returncode is not None for worker in started)


@pytest.mark.usefixtures("estimated")
async def test_a_store_and_workers_serve_many(tmp_path: Path) -> None:
    roots = [write(tmp_path / name, SHOP) for name in ("one", "two")]
    file = tmp_path / "analyses.sqlite"
    async with SqliteAnalysisStore(file) as store, AnalysisWorkers() as workers:
        for root in roots:
            async with RepositoryAnalysisCache(root, store=store, analyse=workers) as repository:
                await repository.map()
    async with SqliteAnalysisStore(file) as store, AnalysisWorkers() as workers:
        async with RepositoryAnalysisCache(roots[0], store=store, analyse=workers) as repository:
            await repository.map()
            assert repository.statistics().analysed == 0
            assert repository.statistics().found == len(SHOP) - 1
        assert workers.statistics().created == 0


@pytest.mark.usefixtures("estimated")
async def test_a_worker_is_killed_in_the_middle(large: Path, started: list[Worker]) -> None:
    def kill(progress: Progress) -> None:
        if progress.done < progress.total // 2 and not killed:
            killed.append(started[-1].process.pid)
            os.kill(killed[-1], signal.SIGKILL)

    killed: list[int] = []
    options = RepositoryOptions(batch_files=16)
    async with RepositoryAnalysisCache(large, options=options) as repository:
        found = await repository.map(progress=kill)

        assert killed
        assert found.broken == 0
        assert repository.statistics().analysed == 300


@pytest.mark.usefixtures("estimated")
async def test_cancelled_in_the_middle_and_asked_again(large: Path, started: list[Worker]) -> None:
    begun = asyncio.Event()
    options = RepositoryOptions(batch_files=16, lanes=1)
    async with RepositoryAnalysisCache(large, options=options) as repository:
        call = asyncio.create_task(repository.map(progress=lambda _: begun.set()))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        before = repository.statistics().analysed
        assert before < 300

        assert "function_299" in (await repository.map(2000, ["function_299"])).text
        assert repository.statistics().found >= before
    assert all(worker.process.returncode is not None for worker in started)


async def test_closed_in_the_middle(large: Path, started: list[Worker]) -> None:
    begun = asyncio.Event()
    repository = RepositoryAnalysisCache(large, options=RepositoryOptions(batch_files=8))
    await repository.open()
    call = asyncio.create_task(repository.map(progress=lambda _: begun.set()))
    await begun.wait()
    await repository.close()

    assert all(worker.process.returncode is not None for worker in started)
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    assert "closed" in str(outcome)

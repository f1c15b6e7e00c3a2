"""Processes on one cache file: killed at any moment, and several at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fairlead.gateway.base import PurgeSelector
from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.testing import ManualClock
from integration.stores.samples import answer, key

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.testing import ManualClock
from integration.stores.samples import answer, key

async def main():
    path, tenant, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    clock = ManualClock()

    async def put(store, number):
        await store.put(key(number, tenant), answer(clock, size=3000, seed=number))
        print(number, flush=True)

    async with SqliteResponseStore(path, clock=clock, on_warning=sys.exit) as store:
        for start in range(0, count, 8):
            await asyncio.gather(*(put(store, start + one) for one in range(8)))
    print("closed", flush=True)

asyncio.run(main())
"""
ENDLESS = 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "responses.sqlite"


@contextmanager
def writing(path: Path, tenant: str, count: int = ENDLESS) -> Iterator[subprocess.Popen[str]]:
    """A process that stores entries and prints the number of each that is stored."""
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, str(path), tenant, str(count)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def killed_after(process: subprocess.Popen[str], entries: int) -> set[int]:
    """The numbers that it has told before SIGKILL came."""
    assert process.stdout is not None
    told = {int(process.stdout.readline()) for _ in range(entries)}
    process.send_signal(signal.SIGKILL)
    told |= {int(line) for line in process.stdout if line.endswith("\n")}
    process.wait(10)
    return told


async def found(path: Path, tenant: str, numbers: set[int]) -> set[int]:
    """Which of the entries are there, whole."""
    clock = ManualClock()
    async with SqliteResponseStore(path, clock=clock, on_warning=pytest.fail) as store:
        return {
            number
            for number in numbers
            if store.may_contain(key(number, tenant))
            and await store.get(key(number, tenant)) == answer(clock, size=3000, seed=number)
        }


@pytest.mark.parametrize("entries", [1, 90, 700])
async def test_a_killed_process_loses_nothing_that_it_told(path: Path, entries: int) -> None:
    with writing(path, "a") as process:
        told = killed_after(process, entries)
    assert len(told) >= entries
    assert await found(path, "a", told) == told


async def test_one_of_several_processes_is_killed(path: Path) -> None:
    with ExitStack() as stack:
        victim = stack.enter_context(writing(path, "victim"))
        others = [stack.enter_context(writing(path, f"t-{n}", 160)) for n in range(2)]
        told = killed_after(victim, 20)
        for process in others:
            output, _ = process.communicate(timeout=15)
            assert output.endswith("closed\n")
            assert process.returncode == 0
    assert await found(path, "victim", told) == told
    for tenant in ("t-0", "t-1"):
        assert await found(path, tenant, set(range(160))) == set(range(160))


async def test_processes_that_start_together_make_one_file(path: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(writing(path, f"t-{n}", 8)) for n in range(4)]
        for process in processes:
            output, _ = process.communicate(timeout=15)
            assert output.endswith("closed\n")
    clock = ManualClock()
    async with SqliteResponseStore(path, clock=clock, on_warning=pytest.fail) as store:
        assert store.statistics().entries == 32
        assert await store.purge(PurgeSelector(tenant="t-2")) == 8
    assert not list(path.parent.glob("*.unusable-*"))


async def test_after_a_kill_a_damaged_file_is_set_aside(path: Path) -> None:
    with writing(path, "a") as process:
        told = killed_after(process, 20)
    # The log alone would bring everything back.
    for file in (path, path.with_name(path.name + "-wal")):
        file.write_bytes(os.urandom(8192))
    warnings: list[str] = []
    clock = ManualClock()
    async with SqliteResponseStore(path, clock=clock, on_warning=warnings.append) as store:
        assert [store.may_contain(key(number, "a")) for number in told] == [False] * len(told)
        await store.put(key(1), answer(clock))
        assert await store.get(key(1)) is not None
    assert len(warnings) == 1
    assert path.with_name(warnings[0].split(" as ")[1].split(":")[0]).exists()

"""A disk that is full: writes fail and are counted, reads go on, and it resumes by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fairlead.errors import CacheStoreError
from fairlead.testing import ManualClock
from integration.stores.conftest import SqliteOpener
from integration.stores.samples import answer, key, until

LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from fairlead.errors import CacheStoreError
from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.testing import ManualClock
from integration.stores.samples import answer, key

async def main():
    clock = ManualClock()
    path = Path(sys.argv[1])
    async with SqliteResponseStore(path, clock=clock, on_warning=print) as store:
        for number in range(10):
            await store.put(key(number), answer(clock, size=1000, seed=number))
        used = max(file.stat().st_size for file in path.parent.iterdir())
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (used + 20_000, hard))
        failed = 0
        for number in range(10, 20):
            try:
                await store.put(key(number), answer(clock, size=100_000, seed=number))
            except CacheStoreError:
                failed += 1
        assert failed == store.statistics().failures == 10, store.statistics()
        for number in range(10):
            assert await store.get(key(number)) == answer(clock, size=1000, seed=number)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await store.put(key(20), answer(clock, size=100_000))
        assert await store.get(key(20)) == answer(clock, size=100_000)
        assert store.statistics().available
    print("done")

asyncio.run(main())
"""


def test_a_file_that_may_not_grow(path: Path) -> None:
    """The limit on the size of files makes every larger write fail, like a full disk."""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("done\n", "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; only the system's administrator can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted as root alone: sudo, or a container")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """The file that takes all that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):  # it ends with "No space"
        while True:
            file.write(bytes(4096))
    return filler


async def test_a_full_disk(
    open_sqlite: SqliteOpener, small_disk: Path, clock: ManualClock, warnings: list[str]
) -> None:
    store = await open_sqlite(path=small_disk / "responses.sqlite")
    await store.put(key(0), answer(clock, size=50_000))
    filler = fill(small_disk)
    for number in range(1, 4):
        with pytest.raises(CacheStoreError):
            await store.put(key(number), answer(clock, size=100_000))
    assert store.statistics().failures == 3
    assert await store.get(key(0)) == answer(clock, size=50_000)

    second = await open_sqlite(path=small_disk / "responses.sqlite")
    assert await second.get(key(0)) == answer(clock, size=50_000)

    filler.unlink()
    await store.put(key(1), answer(clock, size=100_000))
    assert await store.get(key(1)) == answer(clock, size=100_000)
    assert warnings == []


async def test_a_disk_that_is_full_from_the_start(
    open_sqlite: SqliteOpener, small_disk: Path, clock: ManualClock, warnings: list[str]
) -> None:
    filler = fill(small_disk)
    store = await open_sqlite(path=small_disk / "responses.sqlite")
    with pytest.raises(CacheStoreError):
        await store.put(key(1), answer(clock))
    filler.unlink()
    await until(clock, lambda: store.statistics().available)
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)
    assert len(warnings) == 1

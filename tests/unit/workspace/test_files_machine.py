"""Reads from memory against fresh reads, over edits of every kind in every order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairlead.errors import RequestError
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache
from support.edits import PATHS, Edits, fresh
from support.workspaces import AheadClock

T = TypeVar("T")

KINDS = sorted(Edits.KINDS)


class World:
    """A tree with a cache of it; a long time may pass in a moment.

    The kernel's stamps cannot be put forward, so the cache's clock is; before the next edit the
    kernel's own clock goes on a grain, as it would have long since, and the cache's is put back.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.top = place.resolve() / "root"
        (self.top / "d/deep").mkdir(parents=True)
        (self.top.parent / "outside").write_bytes(b"outside!")
        self.edits = Edits(self.top, seed)
        self.clock = AheadClock()
        self.files = FileSystemCache(
            self.top,
            options=FileCacheOptions(watch=False, max_bytes=200_000),
            clock=self.clock,
        )

    def wait_long(self) -> None:
        self.clock.ahead = 3600.0

    def edit(self, kind: str | None = None, path: str = "") -> None:
        if self.clock.ahead:
            self.edits.later()
            self.clock.ahead = 0.0
        if kind is None:
            self.edits.any()
        else:
            self.edits.make(kind, path)

    async def read(self, path: str) -> bytes | None:
        try:
            return (await self.files.read(path)).data
        except RequestError:
            return None

    async def check(self, path: str) -> None:
        assert await self.read(path) == fresh(self.top, path)


class Machine(RuleBasedStateMachine):
    """One reader, one writer, and everything that they may do in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.world: World

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def main() -> T:
            return await work()

        return self.runner.run(main())

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World(self.place, seed)
        self.run(self.world.files.open)

    @rule(kind=st.sampled_from(KINDS), path=st.sampled_from(PATHS))
    def edit(self, kind: str, path: str) -> None:
        self.world.edit(kind, path)

    @rule(path=st.sampled_from(PATHS), data=st.binary(max_size=20), matching=st.booleans())
    def write(self, path: str, data: bytes, *, matching: bool) -> None:
        """Through the cache, which is an edit like any other."""
        world = self.world
        if world.clock.ahead:
            world.edits.later()
            world.clock.ahead = 0.0
        etag = None
        before = fresh(world.top, path)
        try:
            if matching:
                etag = self.run(lambda: world.files.read(path)).etag
            self.run(lambda: world.files.write(path, data, if_match=etag))
        except RequestError:
            assert fresh(world.top, path) == before
        else:
            assert fresh(world.top, path) == data

    @rule()
    def wait_long(self) -> None:
        self.world.wait_long()

    @rule(path=st.sampled_from(PATHS))
    def read(self, path: str) -> None:
        self.run(lambda: self.world.check(path))

    @rule()
    def read_everything(self) -> None:
        for path in PATHS:
            self.run(lambda path=path: self.world.check(path))  # type: ignore[misc]

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "world"):
            assert self.world.files.statistics().bytes <= 200_000

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.files.close)
        self.runner.close()
        shutil.rmtree(self.place)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=30)


async def _interleavings(place: Path, seed: int, count: int) -> FileSystemCache:
    world = World(place, seed)
    choice = world.edits.choice
    async with world.files:
        for _ in range(count):
            if choice.random() < 0.3:
                world.wait_long()
            else:
                world.edit()
            for path in choice.choices(PATHS, k=choice.randrange(3)):
                await world.check(path)
    return world.files


async def test_ten_thousand_interleavings_show_nothing_old(tmp_path: Path) -> None:
    files = await _interleavings(tmp_path, 7, 10_000)

    statistics = files.statistics()
    # Both ways were taken often: from memory and from the disk.
    assert statistics.hits > 500
    assert statistics.reads > 500
    assert statistics.unchanged > 100


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50))
async def test_many_more_interleavings(tmp_path: Path, seed: int) -> None:
    await _interleavings(tmp_path, seed, 50_000)


async def test_concurrent_readers_see_what_was_there_while_they_read(tmp_path: Path) -> None:
    """Every answer is a content that the file had between the question and the answer."""
    world = World(tmp_path, 11)
    choice = world.edits.choice
    path = world.top / "a"
    versions = [b"0"]
    path.write_bytes(b"0")

    def edit() -> None:
        # Atomic for a reader in another thread: a new file, or one write of the same size.
        data = str(len(versions)).encode()
        # The new one may be seen from when the edit begins.
        versions.append(data)
        if len(data) == len(versions[-2]) and choice.random() < 0.5:
            with path.open("r+b", buffering=0) as file:
                file.write(data)
        else:
            (world.top / "new").write_bytes(data)
            (world.top / "new").rename(path)

    async def reader() -> int:
        begun = len(versions) - 1
        data = (await world.files.read("a")).data
        assert data in versions[begun:]
        return versions.index(data) - begun

    async with world.files:
        tasks: list[asyncio.Task[int]] = []
        for _ in range(1000):
            if choice.random() < 0.4:
                world.clock.ahead = 0.0
                world.edits.later()
                edit()
            elif choice.random() < 0.2:
                world.wait_long()
            tasks.extend(asyncio.create_task(reader()) for _ in range(choice.randrange(4)))
            for _ in range(choice.randrange(4)):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    assert world.files.statistics().shared > 50

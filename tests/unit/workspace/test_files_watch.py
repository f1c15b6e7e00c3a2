"""A cache and its watcher: overflow and death cost memory, and no read is old for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache
from fairlead.workspace.hints import Hints
from fairlead.workspace.keeping import Kept
from fairlead.workspace.watch import Changes
from support.workspaces import AheadClock, tick


class Script:
    """Notifications as the test gives them."""

    def __init__(self) -> None:
        self.steps: queue.Queue[Changes | Exception] = queue.Queue()

    def __call__(
        self, directories: Sequence[Path], stop: threading.Event
    ) -> Generator[Changes, None, None]:
        while not stop.is_set():
            try:
                step = self.steps.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(step, Exception):
                raise step
            yield step


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - a thread tells nobody
            await asyncio.sleep(0.001)


def tree(place: Path, number: int) -> list[str]:
    names = [f"f{n}" for n in range(number)]
    for name in names:
        (place / name).write_text(name)
    return names


async def test_without_one_it_says_so(tmp_path: Path) -> None:
    async with FileSystemCache(tmp_path, options=FileCacheOptions(watch=False)) as files:
        assert files.statistics().watcher == "off"


async def test_an_overflow_drops_everything(tmp_path: Path) -> None:
    script = Script()
    names = tree(tmp_path, 10)
    async with FileSystemCache(tmp_path, clock=AheadClock(3600), listen=script) as files:
        for name in names:
            await files.read(name)
        await files.stat("f0")
        await files.glob("*")
        script.steps.put({(2, f"{tmp_path}/other{n}") for n in range(20_000)})
        await until(lambda: files.statistics().dropped)

        statistics = files.statistics()
        assert (statistics.entries, statistics.bytes, statistics.dropped) == (0, 0, 1)
        assert statistics.watcher == "watching"
        for name in names:
            assert (await files.read(name)).data == name.encode()


async def test_a_dead_watcher_drops_everything_and_reads_stay_true(tmp_path: Path) -> None:
    script = Script()
    tree(tmp_path, 3)
    clock = AheadClock(3600)
    async with FileSystemCache(tmp_path, clock=clock, listen=script) as files:
        script.steps.put(set())
        await until(lambda: files.statistics().watcher == "watching")
        await files.read("f0")
        script.steps.put(OSError("inotify is gone"))
        await until(lambda: files.statistics().dropped)

        assert files.statistics().watcher == "resting: inotify is gone"
        assert files.statistics().entries == 0
        await files.read("f0")
        tick(tmp_path)
        (tmp_path / "f0").write_text("F0")
        assert (await files.read("f0")).data == b"F0"
        assert "f0" in (await files.glob("*")).paths


async def test_a_limit_on_watches_does_not_keep_it_from_opening(tmp_path: Path) -> None:
    script = Script()
    script.steps.put(OSError(28, "OS file watch limit reached."))
    (tmp_path / "f").write_bytes(b"x")
    async with FileSystemCache(tmp_path, listen=script) as files:
        await until(lambda: "limit" in files.statistics().watcher)

        assert (await files.read("f")).data == b"x"
        assert files.statistics().dropped == 0


async def test_too_many_directories_are_not_watched(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}/f").touch()
    async with FileSystemCache(tmp_path, options=FileCacheOptions(max_watched=5)) as files:
        await until(lambda: files.statistics().watcher.startswith("off"))


async def test_what_changed_is_forgotten(tmp_path: Path) -> None:
    script = Script()
    tree(tmp_path, 3)
    async with FileSystemCache(tmp_path, clock=AheadClock(3600), listen=script) as files:
        for name in ("f0", "f1"):
            await files.read(name)
        await files.glob("*")
        script.steps.put({(2, f"{tmp_path}/f0")})
        await until(lambda: files.statistics().entries == 1)
        assert files._globs.bytes > 0
        script.steps.put({(3, f"{tmp_path}/f9")})
        await until(lambda: not files._globs.bytes)

        assert files.statistics().entries == 1


async def test_real_notifications_with_an_overflow(tmp_path: Path) -> None:
    """20,000 files come while 20 are read again and again."""
    names = tree(tmp_path, 20)
    options = FileCacheOptions(max_changes=100)
    clock = AheadClock(3600)
    async with FileSystemCache(tmp_path, options=options, clock=clock) as files:
        await until(lambda: files.statistics().watcher == "watching")

        def flood() -> None:
            for number in range(20_000):
                (tmp_path / f"x{number}").touch()

        flooding = asyncio.create_task(asyncio.to_thread(flood))
        version = 0
        while not flooding.done():
            version += 1
            name = names[version % 20]
            await files.read(name)
            tick(tmp_path.parent)
            (tmp_path / name).write_text(f"{name} {version}")
            assert (await files.read(name)).data == f"{name} {version}".encode()
        await flooding
        await until(lambda: files.statistics().dropped)

        found = await files.glob("x*", limit=30_000)
        assert (len(found.paths), found.is_complete) == (20_000, True)


def test_the_directories_of_files_are_watched_and_no_others(tmp_path: Path) -> None:
    for path in ("a/b/c/f", "d/f", ".hid/f", ".git/f", "ignored/f"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    (tmp_path / ".gitignore").write_text("ignored/")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("a")
    files = FileSystemCache(tmp_path)
    files.root.open()
    try:
        hints = Hints(files.root, Kept(FileCacheOptions()), files._globs, lambda: None)
        found = {str(path.relative_to(tmp_path)) for path in hints.directories()}
    finally:
        files.root.close()

    assert found == {".", "a", "a/b", "a/b/c", "d", ".hid"}


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_closed_while_it_begins_it_ends(tmp_path: Path, turns: int) -> None:
    async with FileSystemCache(tmp_path):
        for _ in range(turns):
            await asyncio.sleep(0)

    assert not [t for t in threading.enumerate() if t.name.startswith("workspace-watch")]

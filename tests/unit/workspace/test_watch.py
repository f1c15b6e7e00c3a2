"""The watcher: what it tells, what it survives, and that it is bounded."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.testing import ManualClock
from fairlead.workspace.watch import RETRY_CAP, Changes, Listen, Watcher


class Audience:
    """Writes down what it is told."""

    def __init__(self, *directories: Path) -> None:
        self.watched: Sequence[Path] = directories
        self.there = True
        self.heard: list[tuple[frozenset[str], bool]] = []
        self.losses = 0
        self.listings = 0
        self._news = asyncio.Event()

    def directories(self) -> Sequence[Path]:
        self.listings += 1
        return self.watched

    def is_there(self) -> bool:
        return self.there

    def changed(self, paths: Iterable[str], *, names: bool) -> None:
        self.heard.append((frozenset(paths), names))
        self._news.set()

    def lost(self) -> None:
        self.losses += 1
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def all_paths(self) -> set[str]:
        return {path for paths, _ in self.heard for path in paths}


class Script:
    """Takes the place of the system's notifications: yields what it is given, raises, or ends."""

    def __init__(self) -> None:
        self.steps: queue.Queue[Changes | Exception | None] = queue.Queue()
        self.started: list[Sequence[Path]] = []
        self.ended = 0

    def __call__(
        self, directories: Sequence[Path], stop: threading.Event
    ) -> Generator[Changes, None, None]:
        self.started.append(directories)
        try:
            while not stop.is_set():
                try:
                    step = self.steps.get(timeout=0.01)
                except queue.Empty:
                    continue
                if isinstance(step, Exception):
                    raise step
                if step is None:
                    return
                yield step
        finally:
            self.ended += 1


@asynccontextmanager
async def watching(
    audience: Audience, listen: Listen | None, clock: ManualClock | None = None
) -> AsyncIterator[Watcher]:
    watcher = Watcher(
        audience, clock or ManualClock(), max_watched=10, max_changes=100, listen=listen
    )
    async with TaskOwner(log_failure) as tasks:
        tasks.spawn(watcher.run(), "watch")
        yield watcher


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a thread tells nobody
            await asyncio.sleep(0.001)


async def test_changes_are_told(tmp_path: Path) -> None:
    audience, script = Audience(tmp_path), Script()
    async with watching(audience, script) as watcher:
        script.steps.put(set())
        script.steps.put({(2, "/r/a"), (2, "/r/b")})
        script.steps.put({(2, "/r/a"), (3, "/r/b")})
        await audience.until(lambda: len(audience.heard) == 2)

        assert watcher.state == "watching"

    assert audience.heard == [
        (frozenset({"/r/a", "/r/b"}), False),
        (frozenset({"/r/a", "/r/b"}), True),
    ]
    assert (script.started, script.ended) == ([(tmp_path,)], 1)


@pytest.mark.parametrize(("number", "losses"), [(100, 0), (101, 1), (20_000, 1)])
async def test_too_many_changes_say_that_anything_may_have_changed(
    tmp_path: Path, number: int, losses: int
) -> None:
    audience, script = Audience(tmp_path), Script()
    async with watching(audience, script):
        script.steps.put({(1, f"/r/{n}") for n in range(number)})
        await audience.until(lambda: audience.losses or audience.heard)

    assert audience.losses == losses
    assert len(audience.heard) == 1 - losses


@pytest.mark.parametrize("death", [OSError("no more watches"), RuntimeError("broken"), None])
async def test_a_dead_watcher_loses_everything_and_is_started_again(
    tmp_path: Path, death: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    audience, script, clock = Audience(tmp_path), Script(), ManualClock()
    async with watching(audience, script, clock) as watcher:
        script.steps.put({(2, "/r/a")})
        script.steps.put(death)
        await until(lambda: watcher.state.startswith("resting"))
        assert audience.losses == 1
        assert "not watched" in caplog.text

        await clock.advance(RETRY_CAP)
        script.steps.put({(2, "/r/b")})
        await audience.until(lambda: "/r/b" in audience.all_paths())
        assert watcher.state == "watching"

    assert script.ended == 2


async def test_one_that_never_begins_loses_nothing_and_is_tried_again(tmp_path: Path) -> None:
    audience, script, clock = Audience(tmp_path), Script(), ManualClock()
    async with watching(audience, script, clock) as watcher:
        for number in range(1, 4):
            script.steps.put(OSError("limit of watches reached"))
            await until(lambda number=number: script.ended == number)
            await until(lambda: watcher.state == "resting: limit of watches reached")
            await clock.advance(RETRY_CAP)

    assert audience.losses == 0


async def test_a_root_that_went_away_is_a_death(tmp_path: Path) -> None:
    audience, script = Audience(tmp_path), Script()
    async with watching(audience, script) as watcher:
        script.steps.put(set())
        await until(lambda: watcher.state == "watching")
        audience.there = False
        script.steps.put(set())
        await audience.until(lambda: audience.losses)

        assert "not there" in watcher.state


async def test_more_directories_than_allowed_are_not_watched(tmp_path: Path) -> None:
    audience, script = Audience(*[tmp_path / str(n) for n in range(11)]), Script()
    async with watching(audience, script) as watcher:
        await until(lambda: watcher.state.startswith("off"))

    assert "more than 10 directories" in watcher.state
    assert script.started == []


async def test_new_directories_are_watched_soon(tmp_path: Path) -> None:
    audience, script, clock = Audience(tmp_path), Script(), ManualClock()
    async with watching(audience, script, clock):
        (tmp_path / "new").mkdir()
        script.steps.put({(1, str(tmp_path / "new"))})
        await audience.until(lambda: audience.heard)
        audience.watched = [tmp_path, tmp_path / "new"]
        script.steps.put(set())
        await until(script.steps.empty)
        assert audience.listings == 1  # not for each directory that comes

        await clock.advance(6.0)
        script.steps.put(set())
        await until(lambda: len(script.started) == 2)

    assert script.started[1] == [tmp_path, tmp_path / "new"]


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_ended_at_any_moment_it_gives_back_what_it_has(tmp_path: Path, turns: int) -> None:
    audience, script = Audience(tmp_path), Script()
    async with watching(audience, script):
        for _ in range(turns):
            await asyncio.sleep(0)

    assert script.ended == len(script.started)
    await until(lambda: not _threads())


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("workspace-watch")]


async def test_the_systems_own_notifications(tmp_path: Path) -> None:
    """Also that they do not go through a symlink, nor into what was not listed."""
    (tmp_path / "inside/deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside/link").symlink_to("../outside")
    audience = Audience(tmp_path / "inside")
    async with watching(audience, None) as watcher:
        number = 0
        while not audience.heard:  # until it has begun
            number += 1
            (tmp_path / f"inside/f{number}").touch()
            await asyncio.sleep(0.02)
        (tmp_path / "outside/x").touch()
        (tmp_path / "inside/deep/x").touch()
        (tmp_path / "inside/last").touch()
        last = str(tmp_path / "inside/last")
        await audience.until(lambda: last in audience.all_paths())

        assert watcher.state == "watching"

    assert not {path for path in audience.all_paths() if path.endswith("/x")}

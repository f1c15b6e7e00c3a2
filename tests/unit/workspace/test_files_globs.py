"""Paths by pattern: sorted, bounded, and never a listing that is not true any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fairlead.errors import RequestError, StorageUnavailableError
from fairlead.testing import ManualClock
from fairlead.workspace import globbing
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache
from fairlead.workspace.globbing import Globs
from fairlead.workspace.paths import Root
from support.workspaces import tick

OPTIONS = FileCacheOptions(watch=False)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    for path in ("b.py", "a.py", "src/c.py", "src/deep/d.py", ".hidden/e.py", "out/f.py", "g.txt"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).touch()
    (place / "src/empty/inner").mkdir(parents=True)
    (place / ".gitignore").write_text("out/\n")
    return place


@pytest.fixture
def clock() -> ManualClock:
    """All files are old."""
    return ManualClock(start=4_000_000_000.0)


@pytest.fixture
async def files(top: Path, clock: ManualClock) -> AsyncIterator[FileSystemCache]:
    async with FileSystemCache(top, options=OPTIONS, clock=clock) as cache:
        yield cache


@pytest.mark.parametrize(
    ("pattern", "hidden", "ignored", "paths"),
    [
        ("*.py", False, False, ("a.py", "b.py")),
        ("**/*.py", False, False, ("a.py", "b.py", "src/c.py", "src/deep/d.py")),
        ("src/**", False, False, ("src/c.py", "src/deep/d.py")),
        ("src/deep/*", False, False, ("src/deep/d.py",)),
        ("**/e.py", True, False, (".hidden/e.py",)),
        ("**/f.py", False, True, ("out/f.py",)),
        ("**/[ef].py", True, True, (".hidden/e.py", "out/f.py")),
        ("nothing/*", False, False, ()),
    ],
)
async def test_what_matches_is_found_sorted(
    files: FileSystemCache, pattern: str, hidden: bool, ignored: bool, paths: tuple[str, ...]
) -> None:
    for _ in range(2):
        found = await files.glob(pattern, hidden=hidden, ignored=ignored)
        assert (found.paths, found.is_complete) == (paths, True)

    assert (files.statistics().glob_misses, files.statistics().glob_hits) == (1, 1)


@pytest.mark.parametrize(("limit", "complete"), [(1, False), (3, False), (4, True), (9, True)])
async def test_a_limit_is_kept_and_told(files: FileSystemCache, limit: int, complete: bool) -> None:
    for _ in range(2):
        found = await files.glob("**/*.py", limit=limit)
        every = ("a.py", "b.py", "src/c.py", "src/deep/d.py")
        assert (found.paths, found.is_complete) == (every[:limit], complete)


@pytest.mark.parametrize(("pattern", "limit", "param"), [("[", 1, "pattern"), ("*", 0, "limit")])
async def test_what_makes_no_sense_is_refused(
    files: FileSystemCache, pattern: str, limit: int, param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        await files.glob(pattern, limit=limit)

    assert (caught.value.status, caught.value.param) == (422, param)


def make_link(top: Path) -> None:
    (top / "src/new.py").symlink_to("c.py")  # is not listed


@pytest.mark.parametrize(
    ("change", "added", "removed"),
    [
        (lambda top: (top / "src/new.py").touch(), "src/new.py", None),
        (lambda top: (top / "src/empty/inner/new.py").touch(), "src/empty/inner/new.py", None),
        (lambda top: (top / "src/c.py").unlink(), None, "src/c.py"),
        (lambda top: (top / "src/c.py").rename(top / "src/z.py"), "src/z.py", "src/c.py"),
        (lambda top: (top / "src/deep").rename(top / "far"), "far/d.py", "src/deep/d.py"),
        (lambda top: (top / ".gitignore").write_text("#"), "out/f.py", None),
        (lambda top: (top / "src/.gitignore").write_text("c.py"), None, "src/c.py"),
        (make_link, None, None),
    ],
)
async def test_what_comes_or_goes_is_seen_at_once(
    files: FileSystemCache,
    top: Path,
    change: Callable[[Path], object],
    added: str | None,
    removed: str | None,
) -> None:
    before = set((await files.glob("**/*.py")).paths)
    await files.glob("**/*.py")
    tick(top.parent)
    change(top)

    after = set((await files.glob("**/*.py")).paths)

    assert after - before == ({added} if added else set())
    assert before - after == ({removed} if removed else set())


async def test_a_file_written_here_is_seen_at_once(files: FileSystemCache) -> None:
    await files.glob("**/*.py")
    await files.write("src/made/x.py", b"")

    assert "src/made/x.py" in (await files.glob("**/*.py")).paths


async def test_a_result_is_used_for_five_seconds_at_most(
    files: FileSystemCache, clock: ManualClock
) -> None:
    await files.glob("*")
    await clock.advance(5.0)
    await files.glob("*")
    assert files.statistics().glob_hits == 1

    await clock.advance(0.1)
    await files.glob("*")
    assert (files.statistics().glob_hits, files.statistics().glob_misses) == (1, 2)


async def test_another_root_has_other_paths(files: FileSystemCache, top: Path) -> None:
    await files.glob("*.py")
    top.rename(top.with_name("moved"))  # noqa: ASYNC240 - quick enough
    with pytest.raises(StorageUnavailableError):
        await files.glob("*.py")
    top.mkdir()  # noqa: ASYNC240 - the same
    (top / "new.py").touch()

    assert (await files.glob("*.py")).paths == ("new.py",)


async def test_many_at_a_time(files: FileSystemCache) -> None:
    found = await asyncio.gather(*[files.glob("**/*.py") for _ in range(20)])

    assert len({result.paths for result in found}) == 1
    assert (files.statistics().glob_misses, files.statistics().glob_hits) == (1, 19)


async def test_results_are_bounded(top: Path, clock: ManualClock) -> None:
    for number in range(100):
        (top / f"f{number}").touch()
    options = FileCacheOptions(watch=False, max_bytes=16 * 4 * 30_000)
    async with FileSystemCache(top, options=options, clock=clock) as files:
        for number in range(300):
            await files.glob(f"{{*,x{number}}}")
            assert files.statistics().bytes <= 30_000


def test_a_listing_that_takes_too_long_is_not_waited_for(top: Path, clock: ManualClock) -> None:
    root = Root(top)
    root.open()
    globs = Globs(root, clock, max_age=5.0, max_bytes=10_000)
    try:
        globs._listing(hidden=False, ignored=False).lock.acquire()
        with pytest.raises(StorageUnavailableError):
            globs.find("*", hidden=False, ignored=False, limit=1, deadline=0.01)
    finally:
        root.close()


def test_what_lies_below_a_base() -> None:
    paths = ["a", "a-b/c", "a/b", "a/c", "a0", "b/a"]

    assert globbing._below(paths, "") == paths
    assert globbing._below(paths, "a") == ["a/b", "a/c"]
    assert globbing._below(paths, "c") == []

"""Paths and trees made to lead out: no byte from outside the root, by any way in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fairlead.errors import RequestError
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache

SECRET = b"root:x:0:0: a secret that lies outside"

PATHS = [
    "../secret",
    "..",
    "a/../../secret",
    "./../secret",
    "a/./../../secret",
    "..//secret",
    ".../secret",
    "....//secret",
    "..\\secret",
    "a\\..\\..\\secret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "..%2fsecret",
    "%252e%252e/secret",
    "..%c0%afsecret",
    "..\u2215secret",
    "\uff0e\uff0e/secret",
    "\u2025/secret",
    "\udcc0\udcae\udcc0\udcae/secret",
    "/secret",
    "//secret",
    "/etc/passwd",
    "file:///etc/passwd",
    "~/secret",
    "~root/.profile",
    "$HOME/secret",
    "secret\0.txt",
    "\0",
    "a/\0/../../secret",
    "\ud800",
    "C:\\secret",
    "a:../secret",
    "out",
    "out/",
    "out/.",
    "absolute",
    "directory/secret",
    "directory/../secret",
    "chain",
    "loop",
    "self/../secret",
    "up/up/up/secret",
    "fifo",
    "fd",
    "proc/self/root/etc/passwd",
    "procroot/etc/passwd",
    "proccwd",
    "device",
    "a" * 5000,
    "a/" * 3000,
    "",
    " ",
    "\n",
    "-rf",
    "*",
    "CON",
    ".git/../../secret",
]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    (place / "out").symlink_to("../secret")
    (place / "absolute").symlink_to(tmp_path / "secret")
    (place / "directory").symlink_to("..")
    (place / "chain").symlink_to("a/next")
    (place / "a/next").symlink_to("../directory/secret")
    (place / "loop").symlink_to("loop")
    (place / "self").symlink_to(".")
    (place / "up").symlink_to("a/..")
    (place / "proc").symlink_to("/proc")
    (place / "procroot").symlink_to("/proc/self/root")
    (place / "proccwd").symlink_to("/proc/self/cwd")
    (place / "fd").symlink_to("/proc/self/fd/0")
    (place / "device").symlink_to("/dev/zero")
    os.mkfifo(place / "fifo")
    return place


@pytest.fixture
async def files(top: Path) -> AsyncIterator[FileSystemCache]:
    async with FileSystemCache(top, options=FileCacheOptions(watch=False)) as cache:
        yield cache


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_leads_out(files: FileSystemCache, top: Path, path: str) -> None:
    before = sorted(entry.name for entry in top.parent.iterdir())
    for work in (files.read, files.read_text):
        with pytest.raises(RequestError):
            await work(path)
    with suppress(RequestError):
        assert (await files.stat(path)).stamp.size != len(SECRET)
    with suppress(RequestError):  # some are odd names for files within
        await files.write(path, b"overwritten")

    assert (top.parent / "secret").read_bytes() == SECRET
    assert sorted(entry.name for entry in top.parent.iterdir()) == before


async def test_no_pattern_lists_what_lies_outside(files: FileSystemCache) -> None:
    for pattern in ("**", "**/*", "*/secret", "out", "directory/*", "**/passwd", "up/**"):
        found = await files.glob(pattern, hidden=True, ignored=True)
        assert not {path for path in found.paths if "secret" in path or "passwd" in path}
    for pattern in ("../*", "/etc/*", "a/../../*"):
        with pytest.raises(RequestError):
            await files.glob(pattern)


@contextmanager
def swapping(top: Path) -> Iterator[None]:
    """Another thread makes files and directories symlinks out and back, as fast as it can."""
    stop = threading.Event()
    outside = top.parent / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(SECRET)
    (top / "real").mkdir()
    (top / "real/f").write_bytes(b"inside")

    def put(target: str, place: str) -> None:
        (top / "next").symlink_to(target)
        (top / "next").rename(top / place)

    def swap() -> None:
        (top / "moving").mkdir()
        (top / "moving/f").write_bytes(b"inside")
        while not stop.is_set():
            # A symlink that leads in and out; a file that becomes one; a directory that does.
            put("../outside", "d")
            put("real", "d")
            put("../outside/f", "file")
            (top / "new").write_bytes(b"inside")
            (top / "new").rename(top / "file")
            (top / "moving").rename(top / "away")
            put("../outside", "moving")
            (top / "moving").unlink()
            (top / "away").rename(top / "moving")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        stop.set()
        swapper.join()


async def _race(files: FileSystemCache, top: Path, go_on: Callable[[int], bool]) -> None:
    seen: set[bytes] = set()
    refused = 0

    async def outcome(work: Awaitable[bytes]) -> None:
        nonlocal refused
        try:
            seen.add(await work)
        except RequestError:
            refused += 1

    async def data(path: str) -> bytes:
        return (await files.read(path)).data

    async def written(path: str) -> bytes:
        return (await files.write(path, b"written")).data

    number = 0
    with swapping(top):
        while go_on(number):
            number += 1
            for path in ("d/f", "file", "moving/f"):
                await outcome(data(path))
            if number % 10 == 0:
                await outcome(written("d/w"))
            if number % 50 == 0:
                await files.glob("**", hidden=True)

    assert SECRET not in seen
    assert b"inside" in seen
    assert refused > 0
    outside = top.parent / "outside"
    assert [path.name for path in outside.iterdir()] == ["f"]
    assert (outside / "f").read_bytes() == SECRET


async def test_swaps_while_it_reads_and_writes(files: FileSystemCache, top: Path) -> None:
    await _race(files, top, lambda number: number < 600)


@pytest.mark.soak
async def test_swaps_for_thirty_seconds(files: FileSystemCache, top: Path) -> None:
    end = time.monotonic() + 30.0
    await _race(files, top, lambda _: time.monotonic() < end)

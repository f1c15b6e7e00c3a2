"""`FileSystemCache`: reads from memory are what is on the disk, shared, bounded and cancellable."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.errors import (
    CapacityError,
    ClosedError,
    FairleadError,
    ForbiddenError,
    NotFoundError,
    RequestError,
    StorageUnavailableError,
)
from fairlead.testing import ManualClock
from fairlead.workspace import reads as module
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache
from fairlead.workspace.paths import Root
from fairlead.workspace.search import SearchQuery
from fairlead.workspace.stamps import stamp_of
from support.workspaces import AheadClock, Gate, tick

OPTIONS = FileCacheOptions(watch=False)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").write_bytes(b"one\ntwo\n")
    return place


@pytest.fixture
def clock() -> AheadClock:
    return AheadClock(3600.0)


@pytest.fixture
async def files(top: Path, clock: AheadClock) -> AsyncIterator[FileSystemCache]:
    """All files are an hour old."""
    async with FileSystemCache(top, options=OPTIONS, clock=clock) as cache:
        yield cache


# ---- reads


async def test_a_second_read_comes_from_memory(files: FileSystemCache) -> None:
    first = await files.read("a/b/file")
    second = await files.read("a/b/file")

    assert first.data == b"one\ntwo\n"
    assert second is first
    assert (files.statistics().hits, files.statistics().reads) == (1, 1)


async def test_other_spellings_are_the_same_file(files: FileSystemCache) -> None:
    first = await files.read("a/b/file")

    assert await files.read("./a//b/./file") is first
    assert files.statistics().entries == 1


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a\0b", "a/../../x", "out/x", "nothing", "a", ""]
)
async def test_what_cannot_be_read_is_refused_each_time(
    files: FileSystemCache, top: Path, path: str
) -> None:
    (top / "out").symlink_to("..")

    for _ in range(2):
        with pytest.raises(RequestError):
            await files.read(path)
        with pytest.raises(RequestError):
            await files.read_text(path)
        if path not in {"", "a"}:
            with pytest.raises(RequestError):
                await files.stat(path)

    assert files.statistics().entries == 0


async def test_a_change_is_seen_at_once(files: FileSystemCache, top: Path) -> None:
    await files.read("a/b/file")
    tick(top)
    (top / "a/b/file").write_bytes(b"ONE\nTWO\n")

    assert (await files.read("a/b/file")).data == b"ONE\nTWO\n"


async def test_a_change_that_hides_behind_its_times_is_seen(
    files: FileSystemCache, top: Path
) -> None:
    """The same size and the same modification time: the inode's change gives it away."""
    path = top / "a/b/file"
    await files.read("a/b/file")
    before = path.stat()
    tick(top)
    path.write_bytes(b"ONE\nTWO\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert (await files.read("a/b/file")).data == b"ONE\nTWO\n"


async def test_a_young_file_is_read_again_until_it_is_old(
    files: FileSystemCache, top: Path, clock: AheadClock
) -> None:
    clock.ahead = 0.0
    first = await files.read("a/b/file")
    second = await files.read("a/b/file")
    assert second is first
    assert (files.statistics().reads, files.statistics().unchanged) == (2, 1)

    clock.ahead = 10.0
    await files.read("a/b/file")
    assert await files.read("a/b/file") is first
    assert (files.statistics().reads, files.statistics().hits) == (3, 1)


async def test_a_write_in_the_grain_of_the_clock_is_seen(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system whose stamps say nothing at all for an hour."""
    real = (top / "a/b/file").stat()

    def frozen(status: os.stat_result) -> object:
        return stamp_of(status)._replace(
            size=8, modified_ns=real.st_mtime_ns, changed_ns=real.st_ctime_ns
        )

    monkeypatch.setattr(module, "stamp_of", frozen)
    monkeypatch.setattr("fairlead.workspace.reading.stamp_of", frozen)
    async with FileSystemCache(top, options=OPTIONS) as files:
        await files.read("a/b/file")
        (top / "a/b/file").write_bytes(b"ONE\nTWO\n")

        assert (await files.read("a/b/file")).data == b"ONE\nTWO\n"


async def test_a_file_that_is_gone_is_forgotten(files: FileSystemCache, top: Path) -> None:
    await files.read("a/b/file")
    (top / "a/b/file").unlink()

    with pytest.raises(NotFoundError):
        await files.read("a/b/file")
    assert files.statistics().entries == 0


async def test_a_directory_that_moved_out_and_is_linked_to_is_refused(
    files: FileSystemCache, top: Path
) -> None:
    """The inode and all its times are the same, but it does not lie in the workspace any more."""
    await files.read("a/b/file")
    await files.stat("a/b/file")
    (top / "a").rename(top.parent / "a")
    (top / "a").symlink_to("../a")

    with pytest.raises(ForbiddenError):
        await files.read("a/b/file")
    with pytest.raises(ForbiddenError):
        await files.stat("a/b/file")


async def test_a_file_that_may_be_read_no_more_is_not_given_from_memory(
    files: FileSystemCache, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await files.read("a/b/file")
    tick(top)
    (top / "a/b/file").chmod(0)

    def refuse(*_: object) -> None:
        raise ForbiddenError("no permission")

    # root may read everything
    monkeypatch.setattr(Root, "find_file", refuse)
    with pytest.raises(ForbiddenError):
        await files.read("a/b/file")


async def test_what_was_read_while_it_changed_is_not_kept(
    files: FileSystemCache, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pread

    def pread(*args: int) -> bytes:
        with (top / "a/b/file").open("ab") as file:
            file.write(b"+")
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        assert (await files.read("a/b/file")).data.startswith(b"one\ntwo\n+")
    assert files.statistics().entries == 0

    assert (await files.read("a/b/file")).data == (top / "a/b/file").read_bytes()


async def test_too_large_a_file_is_refused(top: Path) -> None:
    async with FileSystemCache(top, options=FileCacheOptions(max_file_bytes=7)) as files:
        with pytest.raises(RequestError) as caught:
            await files.read("a/b/file")

    assert caught.value.status == 413


async def test_memory_is_bounded(top: Path, clock: AheadClock) -> None:
    for number in range(50):
        (top / f"f{number}").write_bytes(bytes(1000))
    options = FileCacheOptions(max_bytes=20_000, watch=False)
    async with FileSystemCache(top, options=options, clock=clock) as files:
        for number in range(50):
            await files.read(f"f{number}")
            assert files.statistics().bytes <= 20_000

        assert 5 < files.statistics().entries < 20
        assert files.statistics().evictions == 50 - files.statistics().entries
        (top / "large").write_bytes(bytes(30_000))
        assert len((await files.read("large")).data) == 30_000
        assert files.statistics().bytes <= 20_000


# ---- text


async def test_lines_are_read(files: FileSystemCache) -> None:
    for _ in range(2):
        lines = await files.read_text("a/b/file", first=2)
        assert (lines.text, lines.first, lines.last, lines.lines) == ("two\n", 2, 2, 2)

    assert files.statistics().hits == 1


async def test_a_found_encoding_is_remembered(files: FileSystemCache, top: Path) -> None:
    (top / "f").write_bytes(("# naïve café\n" * 9).encode("cp1252"))

    first = await files.read_text("f")
    second = await files.read_text("f")

    assert first == second
    assert first.text == "# naïve café\n" * 9


async def test_a_mark_is_left_out_each_time(files: FileSystemCache, top: Path) -> None:
    (top / "f").write_bytes(b"\xef\xbb\xbfx")

    assert [(await files.read_text("f")).text for _ in range(3)] == ["x"] * 3


async def test_a_large_text_is_read(files: FileSystemCache, top: Path) -> None:
    (top / "f").write_bytes(b"x" * 79 + b"\n" + b"y\n" * 200_000)

    for _ in range(2):
        assert (await files.read_text("f", 2, 2)).text == "y\n"


async def test_what_is_no_text_is_refused(files: FileSystemCache, top: Path) -> None:
    (top / "f").write_bytes(b"\0")

    for _ in range(2):
        with pytest.raises(RequestError) as caught:
            await files.read_text("f")
        assert caught.value.status == 415


# ---- stat


async def test_stat_is_never_old(files: FileSystemCache, top: Path) -> None:
    assert (await files.stat("a/b/file")).mode == 0o644
    (top / "a/b/file").chmod(0o600)
    assert (await files.stat("a/b/file")).mode == 0o600
    (top / "a/b/file").unlink()
    (top / "a/b/file").mkdir()
    info = await files.stat("a/b/file")

    assert (info.path, info.kind) == ("a/b/file", "directory")
    assert info.stamp == stamp_of((top / "a/b/file").stat())
    assert (await files.stat("")).kind == "directory"


async def test_stat_through_a_link_follows_where_it_leads_now(
    files: FileSystemCache, top: Path
) -> None:
    (top / "link").symlink_to("a/b/file")
    assert (await files.stat("link")).kind == "file"
    (top / "link").unlink()
    (top / "link").symlink_to("a")

    assert (await files.stat("link")).kind == "directory"


async def test_stat_of_a_file_that_became_a_link_follows_it(
    files: FileSystemCache, top: Path
) -> None:
    await files.stat("a/b/file")
    (top / "a/b/file").rename(top / "moved")
    (top / "a/b/file").symlink_to("../../moved")

    assert (await files.stat("a/b/file")).kind == "file"


async def test_a_young_link_is_not_relied_on(
    files: FileSystemCache, top: Path, clock: AheadClock
) -> None:
    """It could be replaced by another with the same stamp."""
    (top / "link").symlink_to("a/b/file")
    clock.ahead = 0.0
    await files.read("link")
    await files.stat("link")
    assert "link" not in files._kept.trails

    clock.ahead = 3600.0
    await files.read("link")
    await files.read("link")
    assert "link" in files._kept.trails
    assert (files.statistics().reads, files.statistics().hits) == (2, 1)


# ---- search


async def test_lines_are_found(files: FileSystemCache) -> None:
    found = await files.search(SearchQuery("two"))

    assert [(match.path, match.line, match.text) for match in found.matches] == [
        ("a/b/file", 2, "two")
    ]
    # ripgrep's word is not taken: the file was read, and is in memory now.
    assert files.statistics().entries == 1


# ---- sharing and cancelling


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Every read of the disk waits before it opens the file."""
    found = Gate(module.read_file)
    monkeypatch.setattr(module, "read_file", found)
    return found


async def reached(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.reached.wait, 5)


async def test_readers_at_one_time_share_one_read(files: FileSystemCache, gate: Gate) -> None:
    readers = [asyncio.create_task(files.read("a/b/file")) for _ in range(50)]
    await reached(gate)
    gate.open()
    contents = await asyncio.gather(*readers)

    assert len({id(content) for content in contents}) == 1
    statistics = files.statistics()
    assert (gate.calls, statistics.reads) == (1, 1)
    assert (statistics.misses, statistics.shared) == (1, 49)


async def test_a_late_reader_shares_what_is_still_true(files: FileSystemCache, gate: Gate) -> None:
    early = asyncio.create_task(files.read("a/b/file"))
    await reached(gate)
    late = asyncio.create_task(files.read("a/b/file"))
    await asyncio.sleep(0)
    gate.open()

    assert await early is await late
    assert gate.calls == 1


async def test_a_late_reader_is_not_given_what_was_opened_before_a_change(
    files: FileSystemCache, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(os.pread)
    monkeypatch.setattr(os, "pread", gate)
    early = asyncio.create_task(files.read("a/b/file"))
    await reached(gate)
    # The old file is open already; another takes its place before the second reader asks.
    (top / "new").write_bytes(b"new")
    (top / "new").rename(top / "a/b/file")
    late = asyncio.create_task(files.read("a/b/file"))
    await asyncio.sleep(0)
    gate.open()

    assert (await early).data == b"one\ntwo\n"
    assert (await late).data == b"new"


async def test_a_late_reader_finds_what_an_early_one_missed(
    files: FileSystemCache, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late_answer(*args: object) -> object:
        try:
            return real(*args)
        finally:
            after()

    real, after = module.read_file, Gate(lambda: None)
    monkeypatch.setattr(module, "read_file", late_answer)
    early = asyncio.create_task(files.read("new"))
    await reached(after)
    (top / "new").write_bytes(b"new")
    late = asyncio.create_task(files.read("new"))
    await asyncio.sleep(0)
    after.open()

    with pytest.raises(NotFoundError):
        await early
    assert (await late).data == b"new"


@pytest.mark.parametrize("victims", [1, 3, 5])
async def test_who_is_cancelled_stops_nobody_else(
    files: FileSystemCache, gate: Gate, victims: int
) -> None:
    readers = [asyncio.create_task(files.read("a/b/file")) for _ in range(5)]
    await reached(gate)
    for reader in readers[:victims]:
        reader.cancel()
    await asyncio.sleep(0)
    assert all(reader.cancelled() for reader in readers[:victims])
    gate.open()

    assert [(await reader).data for reader in readers[victims:]] == [b"one\ntwo\n"] * (5 - victims)
    # What nobody waits for any more is kept for the next.
    assert (await files.read("a/b/file")).data == b"one\ntwo\n"
    assert gate.calls == 1


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_at_any_moment_nothing_is_left_behind(
    files: FileSystemCache, turns: int
) -> None:
    for work in (files.read("a/b/file"), files.stat("a/b/file"), files.read_text("a/b/file")):
        task = asyncio.create_task(work)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert (await files.read("a/b/file")).data == b"one\ntwo\n"
    assert not files._reads._flights


async def test_a_failure_is_everybodys(files: FileSystemCache, gate: Gate) -> None:
    readers = [asyncio.create_task(files.read("nothing")) for _ in range(5)]
    gate.open()
    outcomes = await asyncio.gather(*readers, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [NotFoundError] * 5


async def test_a_disk_that_does_not_answer_is_not_waited_for(top: Path, gate: Gate) -> None:
    options = FileCacheOptions(deadline=0.05, watch=False)
    files = FileSystemCache(top, options=options)
    async with files:
        with pytest.raises(StorageUnavailableError):
            await files.read("a/b/file")
        gate.open()

        assert (await files.read("a/b/file")).data == b"one\ntwo\n"


async def test_too_many_readers_are_refused(top: Path, gate: Gate) -> None:
    for number in range(4):
        (top / f"f{number}").touch()
    options = FileCacheOptions(threads=1, max_waiting=1, watch=False)
    async with FileSystemCache(top, options=options) as files:
        readers = [asyncio.create_task(files.read(f"f{number}")) for number in range(4)]
        await reached(gate)
        gate.open()
        outcomes = await asyncio.gather(*readers, return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, CapacityError)]
    assert 1 <= len(refused) <= 3


# ---- where looking takes long


class SlowClock(ManualClock):
    """Each look at it takes as long as it is told."""

    def __init__(self) -> None:
        super().__init__(start=4_000_000_000.0)
        self.step = 0.0

    def monotonic(self) -> float:
        self._now += self.step
        return self._now


async def test_slow_checks_go_to_threads_for_a_while(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SlowClock()
    async with FileSystemCache(top, options=OPTIONS, clock=clock) as files:
        inline: list[object] = []
        real = module.CachedReads._look

        def look(self: module.CachedReads, trail: object) -> object:
            inline.append(trail)
            return real(self, trail)  # type: ignore[arg-type]

        monkeypatch.setattr(module.CachedReads, "_look", look)
        content = await files.read("a/b/file")
        clock.step = 0.02
        for _ in range(10):
            assert await files.read("a/b/file") is content
        assert len(inline) == 3
        clock.step = 0.0
        assert await files.read("a/b/file") is content
        assert (await files.stat("a/b/file")).kind == "file"
        assert len(inline) == 3

        await clock.advance(31.0)
        for _ in range(5):
            assert await files.read("a/b/file") is content
        assert len(inline) == 8
        assert files.statistics().hits == 16


async def test_a_change_is_seen_from_a_thread_as_well(top: Path) -> None:
    clock = SlowClock()
    clock.step = 1.0
    async with FileSystemCache(top, options=OPTIONS, clock=clock) as files:
        for _ in range(4):
            await files.read("a/b/file")
        tick(top)
        (top / "a/b/file").write_bytes(b"new")

        assert (await files.read("a/b/file")).data == b"new"


# ---- writes


async def test_a_write_is_read_back(files: FileSystemCache, top: Path, clock: AheadClock) -> None:
    clock.ahead = 0.0
    written = await files.write("new/file", b"x")

    assert (top / "new/file").read_bytes() == b"x"
    assert await files.read("new/file") is written
    assert (files.statistics().writes, files.statistics().entries) == (1, 1)


async def test_a_lost_update_is_refused(files: FileSystemCache, top: Path) -> None:
    read = await files.read("a/b/file")
    await files.write("a/b/file", b"mine", if_match=read.etag)

    with pytest.raises(RequestError) as caught:
        await files.write("a/b/file", b"yours", if_match=read.etag)

    assert caught.value.status == 412
    assert (top / "a/b/file").read_bytes() == b"mine"
    with pytest.raises(RequestError):
        await files.write("a/b/file", b"new", if_none_match=True)


async def test_writers_at_one_time_with_one_tag(files: FileSystemCache) -> None:
    etag = (await files.read("a/b/file")).etag
    writes = [files.write("a/b/file", bytes([n]), if_match=etag) for n in range(10)]

    outcomes = await asyncio.gather(*writes, return_exceptions=True)

    (winner,) = [content for content in outcomes if not isinstance(content, BaseException)]
    assert (await files.read("a/b/file")).data == winner.data


async def test_too_many_writers_are_refused(top: Path) -> None:
    options = FileCacheOptions(max_writes=2, watch=False)
    async with FileSystemCache(top, options=options) as files:
        writes = [files.write(f"f{number}", b"x") for number in range(5)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes].count(CapacityError) == 3


async def test_a_cancelled_write_goes_on_and_is_seen(
    files: FileSystemCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(os.fsync)
    monkeypatch.setattr(os, "fsync", gate)
    await files.read("a/b/file")
    write = asyncio.create_task(files.write("a/b/file", b"new"))
    await reached(gate)
    write.cancel()
    await asyncio.gather(write, return_exceptions=True)
    assert (await files.read("a/b/file")).data == b"one\ntwo\n"
    gate.open()
    await files.write("other", b"x")  # the writes before it are done then

    assert (await files.read("a/b/file")).data == b"new"


async def test_a_write_that_takes_too_long_is_given_up(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(os.fsync)
    monkeypatch.setattr(os, "fsync", gate)
    async with FileSystemCache(top, options=FileCacheOptions(deadline=0.05, watch=False)) as files:
        with pytest.raises(StorageUnavailableError):
            await files.write("new", b"x")
        gate.open()


# ---- two processes, as far as the disk is concerned


async def test_two_caches_of_one_directory_see_each_others_writes(
    top: Path, clock: AheadClock
) -> None:
    async with (
        FileSystemCache(top, options=OPTIONS, clock=clock) as one,
        FileSystemCache(top, options=OPTIONS, clock=clock) as two,
    ):
        for number in range(50):
            writer, reader = (one, two) if number % 2 else (two, one)
            clock.ahead = 0.0 if number % 3 else 3600.0
            tick(top)
            data = str(number).encode()
            written = await writer.write("shared", data)
            assert (await reader.read("shared")).data == data
            assert (await writer.read("shared")).data == data
            assert (await reader.stat("shared")).stamp == written.stamp


# ---- the root goes away


def move_away(top: Path) -> Path:
    return top.rename(top.with_name("moved"))


async def test_a_root_that_went_away_takes_everything_with_it(
    files: FileSystemCache, top: Path
) -> None:
    await files.read("a/b/file")
    moved = move_away(top)

    for work in (
        files.read("a/b/file"),
        files.stat("a/b/file"),
        files.write("x", b"x"),
        files.glob("*"),
        files.search(SearchQuery("x")),
    ):
        with pytest.raises(StorageUnavailableError):
            await work
    assert files.statistics().entries == 0
    assert files.statistics().dropped == 1
    assert not (moved / "x").exists()


async def test_a_root_that_was_replaced_is_used(files: FileSystemCache, top: Path) -> None:
    await files.read("a/b/file")
    moved = move_away(top)
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").write_bytes(b"another")

    assert (await files.read("a/b/file")).data == b"another"
    assert (await files.stat("a/b/file")).stamp.size == 7
    (moved / "a/b/file").write_bytes(b"not this one")
    assert (await files.read("a/b/file")).data == b"another"


# ---- opening and closing


async def test_a_directory_that_is_not_there_is_not_opened(tmp_path: Path) -> None:
    files = FileSystemCache(tmp_path / "nothing")

    with pytest.raises(NotFoundError):
        await files.open()
    assert not files.is_open


async def test_closed_it_does_nothing(top: Path) -> None:
    files = FileSystemCache(top, options=OPTIONS)
    with pytest.raises(ClosedError):
        await files.read("a/b/file")
    async with files:
        await files.read("a/b/file")

    for work in (files.read("a/b/file"), files.stat("a"), files.write("a", b"")):
        with pytest.raises(ClosedError):
            await work


async def test_it_can_be_opened_again(top: Path) -> None:
    files = FileSystemCache(top, options=OPTIONS)
    for _ in range(2):
        async with files:
            assert (await files.read("a/b/file")).data == b"one\ntwo\n"
            await files.write("x", b"x")


async def test_a_close_ends_the_waits(top: Path, gate: Gate) -> None:
    files = FileSystemCache(top, options=OPTIONS)
    await files.open()
    readers = [asyncio.create_task(files.read("a/b/file")) for _ in range(3)]
    await reached(gate)
    closing = asyncio.create_task(files.close())
    await asyncio.sleep(0)
    gate.open()
    outcomes = await asyncio.gather(*readers, return_exceptions=True)
    await closing

    assert all(isinstance(outcome, FairleadError) for outcome in outcomes)
    assert files.root._handle < 0

"""Writing: all or nothing, beneath the root, and nobody's change is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairlead.errors import (
    FairleadError,
    ForbiddenError,
    NotFoundError,
    RequestError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from fairlead.workspace import writing
from fairlead.workspace.paths import Root, split_path, stamp_of
from fairlead.workspace.reading import Reading, digest_of
from fairlead.workspace.writing import Condition, write_file
from support.disks import fill, small_disk

ALWAYS = Condition()


def tag(data: bytes) -> str:
    return f'"{digest_of(data)}"'


@pytest.fixture
def top(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    (place / "file").write_bytes(b"old")
    return place


@pytest.fixture
def root(top: Path) -> Iterator[Root]:
    found = Root(top)
    found.open()
    yield found
    found.close()


def write(root: Root, path: str, data: bytes, condition: Condition = ALWAYS) -> Reading:
    return write_file(root, split_path(path), data, condition, 1000)


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


# ---- what is written


def test_a_file_is_replaced_and_described(root: Root, top: Path) -> None:
    content, trail, is_settled = write(root, "file", b"new")

    assert (top / "file").read_bytes() == b"new"
    assert content.stamp == stamp_of((top / "file").stat())
    assert (content.path, content.data, content.etag) == ("file", b"new", tag(b"new"))
    assert is_settled
    assert root.status_along(trail) is not None
    assert names(top) == ["file"]


def test_who_has_it_open_keeps_the_old_content(root: Root, top: Path) -> None:
    with (top / "file").open("rb") as reader:
        write(root, "file", b"new")

        assert reader.read() == b"old"


def test_directories_are_made(root: Root, top: Path) -> None:
    write(root, "a/b/c/new", b"x")

    assert (top / "a/b/c/new").read_bytes() == b"x"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_the_mode_stays(root: Root, top: Path, mode: int) -> None:
    (top / "file").chmod(mode)

    write(root, "file", b"new")

    assert stat.S_IMODE((top / "file").stat().st_mode) == mode


def test_set_id_bits_do_not_stay(root: Root, top: Path) -> None:
    (top / "file").chmod(0o4755)

    write(root, "file", b"new")

    assert stat.S_IMODE((top / "file").stat().st_mode) == 0o755


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o644)])
def test_a_new_file_has_0644_less_the_umask(root: Root, top: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write(root, "new", b"x")
    finally:
        os.umask(before)

    assert stat.S_IMODE((top / "new").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(root: Root, top: Path) -> None:
    os.chown(top / "file", 12345, 12346)

    write(root, "file", b"new")

    status = (top / "file").stat()
    assert (status.st_uid, status.st_gid) == (12345, 12346)


def test_a_symlink_is_written_through(root: Root, top: Path) -> None:
    (top / "d").mkdir()
    (top / "d/target").write_bytes(b"old")
    (top / "link").symlink_to("d/target")

    write(root, "link", b"new")

    assert (top / "link").is_symlink()
    assert (top / "d/target").read_bytes() == b"new"


def test_a_dangling_symlink_gets_its_target(root: Root, top: Path) -> None:
    (top / "link").symlink_to("target")

    write(root, "link", b"new")

    assert (top / "link").is_symlink()
    assert (top / "target").read_bytes() == b"new"


# ---- what is refused


@pytest.mark.parametrize("target", ["../outside", "/nowhere/outside", "../new", "d/../../outside"])
def test_a_symlink_out_is_not_written_through(root: Root, top: Path, target: str) -> None:
    (top / "d").mkdir()
    (top.parent / "outside").write_bytes(b"outside")
    (top / "link").symlink_to(target)

    with pytest.raises(ForbiddenError):
        write(root, "link", b"new")

    assert (top.parent / "outside").read_bytes() == b"outside"
    assert names(top.parent) == ["outside", "root"]


def test_a_directory_that_leads_out_is_not_written_into(root: Root, top: Path) -> None:
    (top.parent / "outside").mkdir()
    (top / "d").symlink_to("../outside")

    for path in ("d/new", "d/deep/new"):
        with pytest.raises(ForbiddenError):
            write(root, path, b"new")

    assert names(top.parent / "outside") == []


@pytest.mark.parametrize(
    "path", [".git/config", ".git", "sub/.git/hooks/x", ".GIT/config", ".git./x", ".Git /x"]
)
def test_git_is_not_written(root: Root, top: Path, path: str) -> None:
    with pytest.raises(ForbiddenError, match=r"\.git"):
        write(root, path, b"x")

    assert not list(top.rglob("*config*"))


def test_git_is_not_written_through_a_link_either(root: Root, top: Path) -> None:
    (top / ".git").mkdir()
    (top / "link").symlink_to(".git")
    (top / "hook").symlink_to("./.git/hook")

    for path in ("link/config", "hook"):
        with pytest.raises(ForbiddenError):
            write(root, path, b"x")

    assert names(top / ".git") == []


def test_names_like_gits_are_written(root: Root, top: Path) -> None:
    for path in (".gitignore", ".github/x", "git/x", "a.git"):
        write(root, path, b"x")

    assert (top / ".github/x").exists()


def test_a_directory_is_not_replaced(root: Root, top: Path) -> None:
    (top / "d").mkdir()

    for path in ("d", "", "."):
        with pytest.raises(RequestError) as caught:
            write(root, path, b"x")
        assert (caught.value.status, caught.value.code) == (409, "kind")


def test_a_file_is_no_directory(root: Root) -> None:
    with pytest.raises(NotFoundError):
        write(root, "file/new", b"x")


def test_a_fifo_is_not_replaced(root: Root, top: Path) -> None:
    os.mkfifo(top / "fifo")

    with pytest.raises(ForbiddenError):
        write(root, "fifo", b"x")


def test_too_much_is_refused(root: Root, top: Path) -> None:
    with pytest.raises(RequestError) as caught:
        write(root, "file", bytes(1001))

    assert (caught.value.status, caught.value.code) == (413, "size")
    assert (top / "file").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be written by root")
def test_what_must_not_be_written_is_forbidden(root: Root, top: Path) -> None:
    (top / "file").chmod(0o444)
    with pytest.raises(ForbiddenError):
        write(root, "file", b"x")
    top.chmod(0o555)
    try:
        with pytest.raises(ForbiddenError):
            write(root, "new", b"x")
    finally:
        top.chmod(0o755)


def test_a_file_that_may_not_be_written_is_not_renamed_over(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)

    with pytest.raises(ForbiddenError, match="read-only"):
        write(root, "file", b"x")

    assert (top / "file").read_bytes() == b"old"


# ---- conditions


def test_the_content_that_was_read_may_be_replaced(root: Root, top: Path) -> None:
    write(root, "file", b"new", Condition(if_match=tag(b"old")))

    assert (top / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("path", "condition"),
    [
        ("file", Condition(if_match=tag(b"older"))),
        ("file", Condition(if_match=f"W/{tag(b'old')}")),
        ("file", Condition(if_match="")),
        ("file", Condition(if_none_match=True)),
        ("nothing", Condition(if_match=tag(b"old"))),
        ("nothing", Condition(if_match="*")),
        ("no/where", Condition(if_match="*")),
    ],
)
def test_a_condition_that_does_not_hold_refuses(
    root: Root, top: Path, path: str, condition: Condition
) -> None:
    with pytest.raises(RequestError) as caught:
        write(root, path, b"new", condition)

    assert (caught.value.status, caught.value.code) == (412, "conflict")
    assert (top / "file").read_bytes() == b"old"
    assert names(top) == ["file"]


def test_conditions_that_hold(root: Root, top: Path) -> None:
    write(root, "file", b"1", Condition(if_match="*"))
    write(root, "new", b"2", Condition(if_none_match=True))

    assert ((top / "file").read_bytes(), (top / "new").read_bytes()) == (b"1", b"2")
    assert (top / "new").stat().st_nlink == 1
    assert names(top) == ["file", "new"]


def test_the_stamp_of_a_new_file_is_its_last(root: Root, top: Path) -> None:
    reading = write(root, "new", b"2", Condition(if_none_match=True))

    assert reading.content.stamp == stamp_of((top / "new").stat())


def during_fsync(act: Callable[[], object]) -> Callable[[int], None]:
    """An `os.fsync` at whose first call somebody else acts."""
    calls = iter([act])
    real = os.fsync

    def fsync(handle: int) -> None:
        real(handle)
        for call in calls:
            call()

    return fsync


def test_a_change_during_the_write_is_not_lost(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", during_fsync(lambda: (top / "file").write_bytes(b"its")))

    with pytest.raises(RequestError) as caught:
        write(root, "file", b"ours", Condition(if_match=tag(b"old")))

    assert caught.value.status == 412
    assert (top / "file").read_bytes() == b"its"
    assert names(top) == ["file"]


def test_a_file_that_appears_during_the_write_is_not_lost(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = writing._Replacement.check
    checks: list[object] = []

    def check(self: writing._Replacement) -> os.stat_result | None:
        found = real(self)
        checks.append(found)
        if len(checks) == 2:  # after the last look, before it gets its name
            (top / "new").write_bytes(b"its")
        return found

    monkeypatch.setattr(writing._Replacement, "check", check)

    with pytest.raises(RequestError) as caught:
        write(root, "new", b"ours", Condition(if_none_match=True))

    assert caught.value.status == 412
    assert (top / "new").read_bytes() == b"its"
    assert names(top) == ["file", "new"]


def test_without_hard_links_a_new_file_is_renamed(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)

    write(root, "new", b"x", Condition(if_none_match=True))

    assert names(top) == ["file", "new"]


def test_of_many_writers_with_one_tag_one_succeeds(root: Root, top: Path) -> None:
    start = threading.Barrier(8)

    def attempt(number: int) -> bool:
        start.wait()
        try:
            write(root, "file", str(number).encode(), Condition(if_match=tag(b"old")))
        except RequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(attempt, range(8)))

    assert results.count(True) == 1
    assert (top / "file").read_bytes() == str(results.index(True)).encode()


def test_of_many_writers_of_a_new_file_one_succeeds(root: Root, top: Path) -> None:
    start = threading.Barrier(8)

    def attempt(number: int) -> bool:
        start.wait()
        try:
            write(root, "a/new", str(number).encode(), Condition(if_none_match=True))
        except RequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(attempt, range(8)))

    assert results.count(True) == 1
    assert (top / "a/new").read_bytes() == str(results.index(True)).encode()


def test_increments_of_a_counter_are_not_lost(root: Root, top: Path) -> None:
    (top / "file").write_bytes(b"0")

    def increment(_: int) -> None:
        while True:
            value = (top / "file").read_bytes()
            try:
                write(root, "file", b"%d" % (int(value) + 1), Condition(if_match=tag(value)))
            except RequestError:
                continue
            return

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(increment, range(20)))

    assert (top / "file").read_bytes() == b"20"


# ---- turns


def test_a_turn_that_never_comes_is_given_up(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LOCK_TRIES", 2)
    other = os.open(top, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StorageUnavailableError, match="all the time"):
            write(root, "file", b"x")
    finally:
        os.close(other)

    write(root, "file", b"y")
    assert (top / "file").read_bytes() == b"y"


def test_where_there_are_no_locks_it_writes_all_the_same(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)

    write(root, "file", b"x")

    assert (top / "file").read_bytes() == b"x"


# ---- the disk fails


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EROFS, ForbiddenError),
        (errno.EACCES, ForbiddenError),
        (errno.EIO, StorageError),
        (errno.ESTALE, StorageUnavailableError),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "replace", "fchmod"])
def test_what_the_disk_refuses_leaves_the_old_file_and_nothing_else(
    root: Root,
    top: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[FairleadError],
    call: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(error):
            write(root, "file", b"new")

    assert (top / "file").read_bytes() == b"old"
    assert names(top) == ["file"]


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        (disk / "file").write_bytes(b"old")
        filler = fill(disk)
        root = Root(disk)
        root.open()
        try:
            with pytest.raises(StorageFullError):
                write_file(root, ("file",), bytes(100_000), ALWAYS, 1_000_000)
            assert (disk / "file").read_bytes() == b"old"
            assert names(disk) == ["file", "filler"]

            filler.unlink()
            write_file(root, ("file",), b"new", ALWAYS, 1_000_000)
            assert (disk / "file").read_bytes() == b"new"
        finally:
            root.close()


def test_no_handle_is_left_open(root: Root, top: Path) -> None:
    (top / "out").symlink_to("../outside")
    before = set(Path("/proc/self/fd").iterdir())

    for path in ("file", "a/b", "out", ".git/x", "file/x", "a"):
        try:
            write(root, path, b"x")
        except RequestError:
            continue
    with pytest.raises(RequestError):
        write(root, "file", b"x", Condition(if_none_match=True))

    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_swapped_directory_is_not_followed_out(root: Root, top: Path) -> None:
    """One thread swaps a directory and a symlink out as fast as it can; another writes."""
    outside = top.parent / "outside"
    outside.mkdir()
    (top / "real").mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in ("../outside", "real"):
                (top / "next").symlink_to(target)
                (top / "next").rename(top / "d")

    (top / "d").symlink_to("real")
    swapper = threading.Thread(target=swap)
    swapper.start()
    outcomes = set()
    try:
        for number in range(5_000):
            # It depends on the two threads' luck how soon one gets through.
            if number >= 100 and "written" in outcomes:
                break
            try:
                write(root, f"d/f{number % 5}", b"x")
                outcomes.add("written")
            except RequestError as error:
                outcomes.add(str(error.status))
    finally:
        stop.set()
        swapper.join()

    assert names(outside) == []
    assert "written" in outcomes

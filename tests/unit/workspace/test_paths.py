"""Paths beneath a root: none of them leads out, whatever lies there and whatever is swapped."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import (
    ClosedError,
    ForbiddenError,
    NotFoundError,
    RequestError,
    StorageUnavailableError,
)
from fairlead.workspace.paths import Root, info_of, kind_of, split_path, stamp_of

SECRET = b"a secret that lies outside"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_bytes(SECRET)
    return place


@pytest.fixture
def top(tmp_path: Path, outside: Path) -> Path:
    place = tmp_path / "root"
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").write_bytes(b"inside")
    return place


@pytest.fixture
def root(top: Path) -> Iterator[Root]:
    found = Root(top)
    found.open()
    yield found
    found.close()


def content(root: Root, path: str) -> bytes:
    handle = root.open_file(split_path(path))
    try:
        return os.read(handle, 1000)
    finally:
        os.close(handle)


# ---- taking apart


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ()),
        (".", ()),
        ("a", ("a",)),
        ("a/b", ("a", "b")),
        ("./a//b/./", ("a", "b")),
        ("...", ("...",)),
        ("a\\b", ("a\\b",)),
        ("%2e%2e/%2f", ("%2e%2e", "%2f")),
        ("naïve/日本", ("naïve", "日本")),
        ("\udcff", ("\udcff",)),
        (" / ", (" ", " ")),
    ],
)
def test_a_path_is_its_components(path: str, parts: tuple[str, ...]) -> None:
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/etc/passwd", "absolute"),
        ("//etc", "absolute"),
        ("..", "'..'"),
        ("a/../b", "'..'"),
        ("a/..", "'..'"),
        ("a\0b", "NUL"),
        ("a" * 256, "255"),
        ("é" * 128, "255"),
        ("a/" * 2049, "4096"),
        ("\ud800", "Unicode"),
    ],
)
def test_what_can_be_no_path_is_refused(path: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        split_path(path)

    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "path", "path")


@given(st.text())
def test_any_text_is_refused_or_taken_apart_into_names(path: str) -> None:
    try:
        parts = split_path(path)
    except RequestError:
        return

    assert not {"", ".", ".."} & set(parts)
    assert not any("/" in part or "\0" in part for part in parts)
    assert split_path("/".join(parts)) == parts


# ---- opening


def test_a_file_is_opened_beneath_the_root(root: Root) -> None:
    assert content(root, "a/b/file") == b"inside"


@pytest.mark.parametrize("target", ["b", "../a/b", "./b/../b/.", "b//"])
def test_a_symlink_that_stays_inside_is_followed(root: Root, top: Path, target: str) -> None:
    (top / "a/link").symlink_to(target)

    assert content(root, "a/link/file") == b"inside"
    assert root.info(("a", "link")).kind == "directory"


def test_links_to_links_are_followed(root: Root, top: Path) -> None:
    (top / "one").symlink_to("a/two")
    (top / "a/two").symlink_to("../a/b/file")

    assert content(root, "one") == b"inside"


def test_dots_in_a_link_go_back_to_where_it_really_leads(root: Root, top: Path) -> None:
    (top / "deep").symlink_to("a/b")
    (top / "up").symlink_to("deep/../b/file")

    assert content(root, "up") == b"inside"


@pytest.mark.parametrize(
    "target",
    [
        "../outside/secret",
        "a/../../outside/secret",
        "a/b/../../../outside/secret",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "..",
        "../root/a/b/file",
    ],
)
def test_a_symlink_out_is_refused(root: Root, top: Path, target: str) -> None:
    (top / "link").symlink_to(target)

    with pytest.raises(ForbiddenError, match="leads out"):
        root.open_file(("link",))
    with pytest.raises(ForbiddenError):
        root.open_directory(("link",))
    with pytest.raises(ForbiddenError):
        root.info(("link",))


def test_an_absolute_link_is_refused_even_into_the_root(root: Root, top: Path) -> None:
    (top / "link").symlink_to(top / "a/b/file")

    with pytest.raises(ForbiddenError):
        root.open_file(("link",))


def test_a_directory_that_is_a_link_out_is_refused(root: Root, top: Path, outside: Path) -> None:
    (top / "d").symlink_to("../outside")

    with pytest.raises(ForbiddenError):
        root.open_file(("d", "secret"))


def test_the_kernels_own_links_lead_nowhere() -> None:
    proc = Root(Path("/proc"))
    proc.open()
    try:
        for name in ("root", "cwd", "exe", "fd/0"):
            with pytest.raises((ForbiddenError, NotFoundError)):
                proc.open_file(("self", *name.split("/"), "x"))
    finally:
        proc.close()


@pytest.mark.parametrize("number", [40, 41])
def test_forty_links_are_followed_and_no_more(root: Root, top: Path, number: int) -> None:
    for index in range(number):
        (top / f"l{index}").symlink_to(f"l{index + 1}")
    (top / f"l{number}").write_bytes(b"end")

    if number == 40:
        assert content(root, "l0") == b"end"
    else:
        with pytest.raises(ForbiddenError, match="symlinks"):
            root.open_file(("l0",))


def test_a_link_to_itself_ends(root: Root, top: Path) -> None:
    (top / "loop").symlink_to("loop")

    with pytest.raises(ForbiddenError):
        root.open_file(("loop",))


@pytest.mark.parametrize("path", ["nothing", "a/nothing", "a/b/file/x", "dangling", "nothing/x"])
def test_what_is_not_there_is_not_found(root: Root, top: Path, path: str) -> None:
    (top / "dangling").symlink_to("gone")

    with pytest.raises(NotFoundError):
        root.open_file(split_path(path))


def test_a_directory_is_no_file_and_a_file_no_directory(root: Root) -> None:
    with pytest.raises(RequestError) as caught:
        root.open_file(("a",))
    assert (caught.value.status, caught.value.code) == (409, "kind")
    with pytest.raises(RequestError) as caught:
        root.open_directory(("a", "b", "file"))
    assert (caught.value.status, caught.value.code) == (409, "kind")


def test_a_fifo_is_refused_at_once(root: Root, top: Path) -> None:
    os.mkfifo(top / "fifo")

    with pytest.raises(ForbiddenError, match="no regular file"):
        root.open_file(("fifo",))


def test_a_socket_is_refused(root: Root, tmp_path: Path, top: Path) -> None:
    here = os.open(top, os.O_PATH)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(f"/proc/self/fd/{here}/s")  # the path itself may be too long for a socket
        with pytest.raises(ForbiddenError):
            root.open_file(("s",))
    finally:
        server.close()
        os.close(here)


def test_a_device_is_refused_without_being_opened() -> None:
    devices = Root(Path("/dev"))
    devices.open()
    try:
        with pytest.raises(ForbiddenError, match="no regular file"):
            devices.open_file(("null",))
    finally:
        devices.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read by root")
def test_what_must_not_be_read_is_forbidden(root: Root, top: Path) -> None:
    (top / "a/b/file").chmod(0)

    with pytest.raises(ForbiddenError):
        root.open_file(("a", "b", "file"))


def test_a_fifo_that_takes_the_files_place_is_refused_at_once(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def swapped_open(name: str, flags: int, **where: int) -> int:
        if name == "file":
            (top / "a/b/file").unlink()
            os.mkfifo(top / "a/b/file")
        return real(name, flags, **where)

    monkeypatch.setattr(os, "open", swapped_open)

    with pytest.raises(ForbiddenError, match="no regular file"):
        root.open_file(("a", "b", "file"))


def test_what_is_swapped_all_the_time_is_given_up(
    root: Root, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each look it is a file, and at each opening a symlink."""
    real = os.open

    def swapped_open(name: str, flags: int, **where: int) -> int:
        if name != "file":
            return real(name, flags, **where)
        raise OSError(errno.ELOOP, "a symlink")

    monkeypatch.setattr(os, "open", swapped_open)

    with pytest.raises(RequestError) as caught:
        root.open_file(("a", "b", "file"))

    assert (caught.value.status, caught.value.code) == (409, "busy")


def test_no_handle_is_left_open(root: Root, top: Path) -> None:
    (top / "out").symlink_to("a/../../outside")
    before = set(Path("/proc/self/fd").iterdir())

    for path in ("a/b/file", "out/secret", "a/b/nothing", "a/b", "a/b/file/x"):
        try:
            os.close(root.open_file(split_path(path)))
        except RequestError:
            continue
    for _ in range(3):
        os.close(root.open_directory(("a", "b")))

    assert set(Path("/proc/self/fd").iterdir()) == before


def test_swaps_between_looking_and_opening_show_nothing(root: Root, top: Path) -> None:
    """One thread swaps a directory and a symlink out as fast as it can; another reads."""
    (top / "real").mkdir()
    (top / "real/secret").write_bytes(b"inside")
    (top / "evil").symlink_to("../outside")
    (top / "d").symlink_to("real")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in ("evil", "real"):
                (top / "next").symlink_to("../outside" if name == "evil" else "real")
                (top / "next").rename(top / "d")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(1000):
            try:
                seen.add(content(root, "d/secret"))
            except RequestError as error:
                seen.add(str(error.status).encode())
    finally:
        stop.set()
        swapper.join()

    assert SECRET not in seen
    assert b"inside" in seen


# ---- stat


def test_info_tells_what_a_path_leads_to(root: Root, top: Path) -> None:
    (top / "link").symlink_to("a/b/file")
    (top / "a/b/file").chmod(0o640)

    info = root.info(("link",))

    assert (info.path, info.kind, info.mode) == ("link", "file", 0o640)
    assert info.stamp == stamp_of((top / "a/b/file").stat())
    assert root.info(()).kind == "directory"
    assert root.info(()).path == ""


def test_every_kind_has_a_name(top: Path) -> None:
    (top / "link").symlink_to("a")
    os.mkfifo(top / "fifo")

    kinds = [kind_of((top / name).lstat().st_mode) for name in ("a/b/file", "a", "link", "fifo")]

    assert kinds == ["file", "directory", "symlink", "other"]
    assert info_of("x", (top / "fifo").stat()).kind == "other"


def test_a_stamp_is_compared_with_one_call(root: Root, top: Path) -> None:
    assert root.stamp("a/b/file") == stamp_of((top / "a/b/file").stat())
    assert root.stamp("a/nothing") is None
    assert root.stamp(".") == stamp_of(top.stat())


def test_a_trail_leads_on_while_nothing_on_it_changes(root: Root, top: Path) -> None:
    (top / "link").symlink_to("a/b")
    handle, trail = root.find_file(("link", "file"))
    os.close(handle)

    status = root.status_along(trail)

    assert status is not None
    assert stamp_of(status) == stamp_of((top / "a/b/file").stat())
    (top / "a/b/file").write_bytes(b"other")
    changed = root.status_along(trail)
    assert changed is not None
    assert changed.st_size == 5


def test_a_trail_ends_where_a_directory_became_a_link_to_itself(
    root: Root, top: Path, outside: Path
) -> None:
    """The very file, moved out of the root, and a link to where it went."""
    handle, trail = root.find_file(("a", "b", "file"))
    os.close(handle)

    (top / "a/b").rename(outside / "b")
    (top / "a/b").symlink_to("../../outside/b")

    assert root.stamp("a/b/file") is not None
    assert root.status_along(trail) is None


def test_a_trail_ends_where_a_link_on_it_was_replaced(root: Root, top: Path) -> None:
    (top / "other").mkdir()
    (top / "other/file").write_bytes(b"other")
    (top / "link").symlink_to("a/b")
    handle, trail = root.find_file(("link", "file"))
    os.close(handle)

    (top / "link").unlink()
    (top / "link").symlink_to("other")

    assert root.status_along(trail) is None


def test_a_trail_ends_where_the_file_became_a_link(root: Root, top: Path) -> None:
    handle, trail = root.find_file(("a", "b", "file"))
    os.close(handle)

    (top / "a/b/file").rename(top / "moved")
    (top / "a/b/file").symlink_to("../../moved")

    assert root.status_along(trail) is None


# ---- the root itself


def test_a_root_that_is_not_there_or_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Root(tmp_path / "nothing").open()
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError):
        Root(tmp_path / "file").open()


def test_a_root_that_went_away_is_noticed_and_found_again(root: Root, top: Path) -> None:
    assert root.is_mounted()

    top.rename(top.with_name("moved"))
    assert not root.is_mounted()
    with pytest.raises(StorageUnavailableError):
        root.mount()

    top.mkdir()
    (top / "new").write_bytes(b"new")
    assert not root.is_mounted()
    root.mount()

    assert root.is_mounted()
    assert root.mounts == 1
    assert content(root, "new") == b"new"
    with pytest.raises(NotFoundError):
        root.open_file(("a", "b", "file"))


def test_mounting_what_is_mounted_changes_nothing(root: Root) -> None:
    root.mount()

    assert root.mounts == 0


def test_a_closed_root_opens_nothing(top: Path) -> None:
    root = Root(top)
    with pytest.raises(ClosedError):
        root.open_file(("a",))
    root.open()
    root.close()
    root.close()
    with pytest.raises(ClosedError):
        root.info(())

"""Reading a file whole while others write it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.errors import RequestError
from fairlead.workspace.paths import Root
from fairlead.workspace.reading import digest_of, read_file
from fairlead.workspace.stamps import stamp_of


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    found = Root(tmp_path)
    found.open()
    yield found
    found.close()


def test_a_content_has_its_stamp_and_digest(root: Root, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"some bytes")

    content, trail, is_settled = read_file(root, ("f",), 100)

    assert (content.path, content.data) == ("f", b"some bytes")
    assert content.stamp == stamp_of((tmp_path / "f").stat())
    assert content.digest == digest_of(b"some bytes")
    assert content.etag == f'"{content.digest}"'
    assert is_settled
    assert trail.path == "f"


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_may_have_as_much_as_is_allowed(root: Root, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(bytes(size))

    assert len(read_file(root, ("f",), 100).content.data) == size


def test_more_is_refused(root: Root, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(101))

    with pytest.raises(RequestError) as caught:
        read_file(root, ("f",), 100)

    assert (caught.value.status, caught.value.code) == (413, "size")


def test_a_file_whose_size_is_not_told_is_limited_as_well() -> None:
    """Those of /proc have none."""
    proc = Root(Path("/proc"))
    proc.open()
    try:
        with pytest.raises(RequestError) as caught:
            read_file(proc, ("cpuinfo",), 10)
        assert caught.value.status == 413
        content, _, is_settled = read_file(proc, ("cpuinfo",), 1024 * 1024)
    finally:
        proc.close()

    assert len(content.data) > 10
    assert not is_settled


class Interference:
    """Takes the place of `os.pread` and writes to the file after each of the first reads."""

    def __init__(self, path: Path, times: int) -> None:
        self.path, self.times = path, times
        self._read = os.pread

    def __call__(self, handle: int, size: int, offset: int) -> bytes:
        piece = self._read(handle, size, offset)
        if piece and self.times:
            self.times -= 1
            with self.path.open("ab") as file:
                file.write(b"+")
        return piece


def test_a_file_that_changes_meanwhile_is_read_again(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"begin")
    monkeypatch.setattr(os, "pread", Interference(tmp_path / "f", 2))

    content, _, is_settled = read_file(root, ("f",), 100)

    assert content.data == b"begin++"
    assert is_settled


def test_a_file_that_changes_all_the_time_is_read_but_not_to_be_kept(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"begin")
    monkeypatch.setattr(os, "pread", Interference(tmp_path / "f", 1000))

    content, _, is_settled = read_file(root, ("f",), 10_000)

    assert content.data.startswith(b"begin+")
    assert not is_settled

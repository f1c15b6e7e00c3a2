"""Paths of a workspace: taken apart, and opened beneath the handle of its root."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from fairlead.errors import (
    ClosedError,
    ForbiddenError,
    NotFoundError,
    RequestError,
    StorageUnavailableError,
)
from fairlead.workspace.base import FileInfo, Kind, Stamp
from fairlead.workspace.failures import translated
from fairlead.workspace.stamps import stamp_of as stamp_of  # noqa: PLC0414 - whoever has paths needs it
from fairlead.workspace.walking import Place, SwappedError, Trail, Walk

T = TypeVar("T")

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking and no terminal: should a FIFO or a device take the file's place meanwhile, opening
# it neither waits nor becomes this process's terminal.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_ATTEMPTS = 10
"""How often a walk begins again because something on its way was replaced."""


def split_path(path: str) -> tuple[str, ...]:
    """The components of a path relative to a root; the empty text and `.` are the root itself.

    Raises `RequestError` 400 for what no such path can be: absolute, with `..` or NUL, a component
    over 255 bytes, over 4,096 bytes in all, or no text that names can be made of.
    """
    if "\0" in path:
        raise _wrong_path("it contains a NUL")
    if path.startswith("/"):
        raise _wrong_path("it is absolute: give it relative to the workspace's root")
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise _wrong_path("it contains '..'")
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError as error:
        raise _wrong_path("it is not valid Unicode") from error
    if max(sizes, default=0) > MAX_NAME_BYTES:
        raise _wrong_path(f"a component has more than {MAX_NAME_BYTES} bytes")
    if sum(sizes) + len(sizes) > MAX_PATH_BYTES:
        raise _wrong_path(f"it has more than {MAX_PATH_BYTES} bytes")
    return parts


class Root:
    """The directory that a workspace stays beneath; every call blocks, from any thread.

    Raises `NotFoundError` for what is not there, `ForbiddenError` for what leads out of the root,
    is no regular file or must not be read, `RequestError` 409 for what is replaced all the time,
    `StorageError` for what the disk says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounts = 0
        """How often another directory has taken the place of the one that was open."""
        self._where = os.fspath(path)
        self._handle = -1
        self._identity = (0, 0)
        self._opening = threading.Lock()

    def open(self) -> None:
        """Open the directory; raises `NotFoundError`, `ForbiddenError`, `StorageError`."""
        with self._opening:
            self._open_anew()

    def close(self) -> None:
        """Give the handle back; idempotent. No other call may be under way."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def is_mounted(self) -> bool:
        """Whether the root's path still leads to the directory that was opened."""
        try:
            status = os.stat(self._where)  # noqa: PTH116 - for every read: Path.stat costs more
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def mount(self) -> None:
        """Open the directory that the root's path leads to now, where that is another.

        Raises `StorageUnavailableError` where there is none.
        """
        if self.is_mounted():
            return
        with self._opening:
            if self.is_mounted():  # another thread was quicker
                return
            try:
                self._open_anew()
            except RequestError as error:
                gone = "the workspace's directory is not there now"
                raise StorageUnavailableError(gone) from error
            self.mounts += 1

    def stamp(self, path: str) -> Stamp | None:
        """The stamp of a normal relative path (`.` is the root), None where it cannot be had.

        One system call that follows symlinks, even out of the root: good for comparing with a
        stamp that was had beneath the root, and for nothing else.
        """
        try:
            return stamp_of(os.stat(path, dir_fd=self._handle))
        except OSError:
            return None

    def status_along(self, trail: Trail) -> os.stat_result | None:
        """What lies at the end of `trail`; None where the trail does not lead there any more.

        One system call for each step and one for the end, none of which follows a symlink.
        """
        handle = self._handle
        try:
            for path, mode, link in trail.steps:
                found = os.stat(path, dir_fd=handle, follow_symlinks=False)
                if found.st_mode != mode or (link is not None and stamp_of(found) != link):
                    return None
            status = os.stat(trail.path, dir_fd=handle, follow_symlinks=False)
        except OSError:
            return None
        return None if stat.S_ISLNK(status.st_mode) else status

    def open_file(self, parts: Sequence[str]) -> int:
        """A handle to read a regular file with; the caller closes it."""
        return self.find_file(parts)[0]

    def find_file(self, parts: Sequence[str]) -> tuple[int, Trail]:
        """A handle to read a regular file with, which the caller closes, and how it was reached."""
        return self._visit(parts, lambda place: (_open_regular(place, parts), place.trail))

    def open_directory(self, parts: Sequence[str]) -> int:
        """A handle to list a directory with; the caller closes it."""
        return self._visit(parts, lambda place: _open_directory(place, parts))

    def info(self, parts: Sequence[str]) -> FileInfo:
        """What a path leads to."""
        return self.find(parts)[0]

    def find(self, parts: Sequence[str]) -> tuple[FileInfo, Trail]:
        """What a path leads to, and how it was reached."""
        path = "/".join(parts)
        return self._visit(parts, lambda place: (info_of(path, _there(place, parts)), place.trail))

    @contextmanager
    def place(
        self, parts: Sequence[str], *, make: bool, check: Callable[[str], None]
    ) -> Iterator[Place]:
        """Where to write a file; `make` makes the directories on the way, beneath the root.

        `check(name)` raises for a name that must not be passed through. The place is valid within
        the `with` block. Raises `SwappedError` where somebody replaces what is on the way.
        """
        with closing(Walk(self._beneath(), parts)) as walk:
            yield walk.to_end(make=make, check=check)

    def _open_anew(self) -> None:
        with translated(self._where):
            handle = os.open(self.path, _DIRECTORY)
            status = os.fstat(handle)
            if self._handle < 0:
                self._handle = handle
            else:
                # The number stays and means the new directory from now on: other threads may be
                # in the middle of a call with it, for whom it must mean nothing else.
                os.dup2(handle, self._handle, inheritable=False)
                os.close(handle)
            self._identity = (status.st_dev, status.st_ino)

    def _visit(self, parts: Sequence[str], act: Callable[[Place], T]) -> T:
        """`act` on the place that the path leads to, begun again where something was swapped."""
        path = "/".join(parts)
        for _ in range(_ATTEMPTS):
            walk = Walk(self._beneath(), parts)
            with suppress(SwappedError), translated(path), closing(walk):
                return act(walk.to_end())
        raise RequestError(409, f"{path!r} is replaced all the time: try again", code="busy")

    def _beneath(self) -> int:
        if self._handle < 0:
            raise ClosedError("the workspace's root is not open")
        return self._handle


def kind_of(mode: int) -> Kind:
    """What kind of thing has `mode` (`st_mode`)."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def info_of(path: str, status: os.stat_result) -> FileInfo:
    """What `path` leads to, from its status."""
    return FileInfo(path, kind_of(status.st_mode), stat.S_IMODE(status.st_mode), stamp_of(status))


def _open_regular(place: Place, parts: Sequence[str]) -> int:
    # Looked at before it is opened: opening a device may already do something.
    check_regular(_there(place, parts), parts)
    handle = _open(place, _FILE)
    try:
        check_regular(os.fstat(handle), parts)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _open_directory(place: Place, parts: Sequence[str]) -> int:
    if not stat.S_ISDIR(_there(place, parts).st_mode):
        path = "/".join(parts)
        raise RequestError(409, f"{path!r} is no directory", param="path", code="kind")
    return _open(place, _DIRECTORY | os.O_NOFOLLOW)


def _open(place: Place, flags: int) -> int:
    try:
        return os.open(place.name, flags, dir_fd=place.handle)
    except OSError as error:
        # It was there a moment ago, and something else.
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.ENXIO}:
            raise SwappedError from error
        raise


def _there(place: Place, parts: Sequence[str]) -> os.stat_result:
    if place.status is None:
        raise NotFoundError("file", "/".join(parts))
    return place.status


def check_regular(status: os.stat_result, parts: Sequence[str]) -> None:
    """Raise unless it is a regular file."""
    path = "/".join(parts)
    if stat.S_ISDIR(status.st_mode):
        raise RequestError(409, f"{path!r} is a directory", param="path", code="kind")
    if not stat.S_ISREG(status.st_mode):
        raise ForbiddenError(f"{path!r} is no regular file")


def _wrong_path(complaint: str) -> RequestError:
    return RequestError(400, f"the path cannot be used: {complaint}", param="path", code="path")

"""Walking a path from a directory's handle, component by component, so that no walk leaves it.

Everything here blocks. The kernel never follows a symlink for us: a link's text is read and walked
as well, with `..` going back to the handle that the walk came from. Whatever is renamed or swapped
meanwhile, every handle was reached beneath the first one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from fairlead.errors import FairleadError, ForbiddenError, NotFoundError
from fairlead.workspace.base import Stamp
from fairlead.workspace.stamps import is_young, stamp_of

MAX_LINKS = 40
"""Symlinks that one walk follows; Linux's own limit (path_resolution(7))."""

# A directory that may be searched but not listed can still be walked through where O_PATH exists.
_PASS_THROUGH = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


class SwappedError(FairleadError):
    """Something was replaced between looking at it and opening it."""


class Step(NamedTuple):
    """A directory or a symlink that a walk led through."""

    path: str
    """Relative to the root."""
    mode: int
    """`st_mode`, so that neither becomes the other unseen."""
    link: Stamp | None
    """Of a symlink, whose text says where the walk goes on."""


class Trail(NamedTuple):
    """How a walk came to its end: while all of it is the same, the walk ends there again."""

    steps: tuple[Step, ...]
    path: str
    """The end's own path, relative to the root, without any symlink; `.` is the root."""

    def is_young(self, moment: float, age: float) -> bool:
        """Whether a symlink on it might have been replaced unseen (see `stamps.is_young`)."""
        return any(step.link and is_young(step.link, moment, age) for step in self.steps)


class Place(NamedTuple):
    """Where a walk has ended; valid while the walk is open."""

    handle: int
    """Of the directory that it lies in."""
    name: str
    """In that directory; `.` where it is the directory itself."""
    status: os.stat_result | None
    """Of what lies there, never a symlink; None where there is nothing yet."""
    trail: Trail


Check = Callable[[str], None]
"""Raises where a walk must not pass through a name."""


class Walk:
    """One walk; it keeps the handles that it came by until `close()`."""

    def __init__(self, root: int, parts: Sequence[str]) -> None:
        """`root` is the handle of the directory that the walk stays beneath."""
        self._handles = [root]
        self._names: list[str] = []
        self._pending = list(reversed(parts))
        self._shown = "/".join(parts)
        self._steps: list[Step] = []
        self._links = 0

    def to_end(self, *, make: bool = False, check: Check | None = None) -> Place:
        """Where the path leads; `make` makes directories that are missing on the way.

        Raises `NotFoundError` where a directory on the way is missing, `ForbiddenError` where the
        path leads out, `SwappedError`, `OSError`.
        """
        while self._pending:
            name = self._pending.pop()
            if check is not None:
                check(name)
            if name == "..":
                self._up()
                continue
            status = self._look(name)
            if status is not None and stat.S_ISLNK(status.st_mode):
                self._follow(name, status)
            elif not self._pending:
                return self._place(name, status)
            else:
                self._down(name, status, make=make)
        return self._place(".", os.fstat(self._handles[-1]))

    def close(self) -> None:
        """Give the handles back; the root's stays open."""
        while len(self._handles) > 1:
            os.close(self._handles.pop())

    def _place(self, name: str, status: os.stat_result | None) -> Place:
        path = "/".join(self._names if name == "." else [*self._names, name])
        return Place(self._handles[-1], name, status, Trail(tuple(self._steps), path or "."))

    def _look(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._handles[-1], follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _up(self) -> None:
        if len(self._handles) == 1:
            raise self._leads_out()
        os.close(self._handles.pop())
        self._names.pop()

    def _follow(self, name: str, status: os.stat_result) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise ForbiddenError(f"{self._shown!r} leads through more than {MAX_LINKS} symlinks")
        try:
            target = os.readlink(name, dir_fd=self._handles[-1])
        except OSError as error:
            raise SwappedError from error
        if target.startswith("/"):
            raise self._leads_out()
        self._note(name, status.st_mode, stamp_of(status))
        # An empty component and `.` mean the directory itself (path_resolution(7)).
        parts = [part for part in target.split("/") if part not in {"", "."}]
        self._pending.extend(reversed(parts))

    def _down(self, name: str, status: os.stat_result | None, *, make: bool) -> None:
        if status is None and make:
            _make_directory(name, self._handles[-1])
        elif status is None or not stat.S_ISDIR(status.st_mode):
            raise NotFoundError("file", self._shown)
        try:
            handle = os.open(name, _PASS_THROUGH, dir_fd=self._handles[-1])
        except OSError as error:
            # It was a directory a moment ago.
            if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENOENT}:
                raise SwappedError from error
            raise
        self._handles.append(handle)
        self._note(name, os.fstat(handle).st_mode, None)
        self._names.append(name)

    def _note(self, name: str, mode: int, link: Stamp | None) -> None:
        self._steps.append(Step("/".join([*self._names, name]), mode, link))

    def _leads_out(self) -> ForbiddenError:
        return ForbiddenError(f"{self._shown!r} leads out of the workspace")


def _make_directory(name: str, parent: int) -> None:
    with suppress(FileExistsError):  # somebody else has made it: as good
        os.mkdir(name, dir_fd=parent)
    # A handle to walk through cannot be synchronised.
    handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

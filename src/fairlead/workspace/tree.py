"""The files of a workspace at one moment, as ripgrep would list them; everything here blocks.

Names come from ripgrep's own walker (`ignore`, which obeys `.gitignore`, `.ignore` and
`.git/info/exclude`). It goes by paths, so what it says is taken for names and nothing else: every
stat is made beneath the handle of its directory, which was opened component by component and never
through a symlink. Where no directory and no ignore file has changed since, the names are the same,
and another look costs one stat for each file.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.errors import RequestError
from fairlead.workspace.base import SkipReason, Stamp, Tree, TreeFile
from fairlead.workspace.paths import Root
from fairlead.workspace.stamps import is_young, stamp_of

MAX_FILES = 200_000
MAX_DEPTH = 128
"""Directories within each other; deeper ones are not listed."""
RACY_AGE = 2.0
"""Seconds that a directory must be older than its listing, to be believed to be the same."""

_GIT = ".git"
_IGNORES = (".gitignore", ".ignore")
_EXCLUDE = f"{_GIT}/info/exclude"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Parts = tuple[str, ...]


class _Directory(NamedTuple):
    """A directory as it was when its names were read."""

    parts: Parts
    stamp: Stamp
    ignores: Sequence[tuple[str, Stamp | None]]
    """The files that say what is ignored, and their stamps; None: it is not there."""
    names: Sequence[str]
    """Of everything in it that is no directory."""


def list_tree(
    root: Root, *, hidden: bool = False, ignored: bool = False, max_files: int = MAX_FILES
) -> Tree:
    """The regular files beneath `root`, sorted by path; what is left out is counted.

    `hidden` lists those that begin with a dot as well, `ignored` those that `.gitignore` names.
    Nothing in a `.git` is listed, nor in a directory below the root that has one: a submodule.
    Raises `RequestError` 413 for more than `max_files`.
    """
    return TreeSnapshot(hidden=hidden, ignored=ignored, max_files=max_files).again(root)


class TreeSnapshot:
    """Lists the same tree again and again; not by several threads at a time."""

    def __init__(
        self,
        *,
        hidden: bool = False,
        ignored: bool = False,
        max_files: int = MAX_FILES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """As `list_tree`."""
        self.walks = 0
        """How often all names were read."""
        self._hidden = hidden
        self._ignored = ignored
        self._max_files = max_files
        self._clock = clock
        self._directories: list[_Directory] = []
        self._is_settled = False
        """Whether the names are believed as long as the stamps stay."""
        self._left_out: Counter[SkipReason] = Counter()

    def again(self, root: Root) -> Tree:
        """The tree as it is now."""
        with _Handles(root) as handles:
            if self._is_settled and (tree := self._look(handles)) is not None:
                return tree
            self._walk(root.path, handles)
            return self._look(handles) or Tree([], {})

    def _look(self, handles: _Handles) -> Tree | None:
        """Every file's stamp; None where the names may be others by now."""
        files: list[TreeFile] = []
        skipped = self._left_out.copy()
        for directory in self._directories:
            handle = handles.enter(directory.parts)
            if handle is None:
                if self._is_settled:
                    return None
                continue  # it has gone since its names were read
            if self._is_settled and not _is_same(directory, handle):
                return None
            _look_at_files(directory, handle, files, skipped)
        files.sort()
        return Tree(files, dict(skipped))

    # ---- names

    def _walk(self, path: Path, handles: _Handles) -> None:
        self.walks += 1
        self._left_out.clear()
        moment = self._clock.time()
        names = self._names(path, handles)
        self._directories = [
            _Directory(parts, stamp_of(os.fstat(handle)), _ignores(handle, parts), names[parts])
            for parts in names
            if (handle := handles.enter(parts)) is not None
        ]
        stamps = (
            stamp
            for directory in self._directories
            for stamp in (directory.stamp, *(stamp for _, stamp in directory.ignores))
            if stamp is not None
        )
        self._is_settled = not any(is_young(stamp, moment, RACY_AGE) for stamp in stamps)

    def _names(self, path: Path, handles: _Handles) -> dict[Parts, list[str]]:
        """The names in each directory, each directory before those in it."""
        found: dict[Parts, list[str]] = {(): []}
        count, skip = 0, len(os.fspath(path).rstrip("/")) + 1
        for entry in self._entries(path):
            *above, name = entry[skip:].split("/")
            parent = tuple(above)
            handle = handles.enter(parent) if parent in found else None
            if handle is None:  # within a submodule, or gone meanwhile
                continue
            if not _is_text(name):
                self._left_out["unreadable"] += 1
            elif not _is_directory(name, handle):
                found[parent].append(name)
                count += 1
            elif _is_there(f"{name}/{_GIT}", handle):
                self._left_out["submodule"] += 1
            else:
                found[*parent, name] = []
            if count > self._max_files:
                raise _too_large(self._max_files)
        return found

    def _entries(self, path: Path) -> Iterator[str]:
        import ignore  # noqa: PLC0415 - late: only who lists a tree needs it
        from ignore.overrides import OverrideBuilder  # noqa: PLC0415 - the same

        obeyed = not self._ignored
        walk = (
            ignore.WalkBuilder(path)
            .hidden(not self._hidden)
            .git_ignore(obeyed)
            .git_exclude(obeyed)
            .ignore(obeyed)
            .git_global(False)  # one user's configuration is no business of a node
            .parents(False)
            .require_git(False)
            .follow_links(False)
            .max_depth(MAX_DEPTH)
            .overrides(OverrideBuilder(path).add(f"!{_GIT}").build())
            .build()
        )
        while True:
            try:
                entry = next(walk)
            except StopIteration:
                return
            except (ignore.Error, ignore.IOError):
                self._left_out["unreadable"] += 1
                continue
            if entry.depth():
                yield os.fspath(entry.path())


class _Handles:
    """Handles of the directories from the root to where one is; entered in the order of a walk."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._parts: list[str] = []
        self._open: list[int] = []

    def __enter__(self) -> _Handles:
        self._open = [self._root.open_directory(())]
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop())

    def enter(self, parts: Parts) -> int | None:
        """The directory's handle, valid until the next call; None where it is none any more."""
        shared = 0
        for mine, other in zip(self._parts, parts, strict=False):
            if mine != other:
                break
            shared += 1
        while len(self._parts) > shared:
            os.close(self._open.pop())
            self._parts.pop()
        for name in parts[shared:]:
            try:
                handle = os.open(name, _DIRECTORY, dir_fd=self._open[-1])
            except OSError:
                return None
            self._open.append(handle)
            self._parts.append(name)
        return self._open[-1]


def _look_at_files(
    directory: _Directory, handle: int, files: list[TreeFile], skipped: Counter[SkipReason]
) -> None:
    prefix = "".join(f"{part}/" for part in directory.parts)
    for name in directory.names:
        try:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except OSError:  # it has gone: a file that is not there
            continue
        if stat.S_ISREG(status.st_mode):
            files.append(TreeFile(prefix + name, stamp_of(status)))
        elif stat.S_ISLNK(status.st_mode):
            skipped["symlink"] += 1
        else:
            skipped["special"] += 1


def _is_same(directory: _Directory, handle: int) -> bool:
    """Whether the names in it, and what is ignored, are what they were."""
    if stamp_of(os.fstat(handle)) != directory.stamp:
        return False
    return all(_stamp(name, handle) == stamp for name, stamp in directory.ignores)


def _ignores(handle: int, parts: Parts) -> list[tuple[str, Stamp | None]]:
    # What is not there comes with a change of the directory; but not so the one in `.git/info`.
    found = [(name, _stamp(name, handle)) for name in _IGNORES]
    there = [item for item in found if item[1] is not None]
    return there if parts else [*there, (_EXCLUDE, _stamp(_EXCLUDE, handle))]


def _stamp(name: str, handle: int) -> Stamp | None:
    """The stamp of an ignore file, symlinks followed as the walker does; nothing shows it."""
    try:
        return stamp_of(os.stat(name, dir_fd=handle))
    except OSError:
        return None


def _is_directory(name: str, handle: int) -> bool:
    try:
        status = os.stat(name, dir_fd=handle, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode)


def _is_there(name: str, handle: int) -> bool:
    try:
        os.stat(name, dir_fd=handle, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_text(name: str) -> bool:
    """Whether it is UTF-8; others cannot be told in JSON, nor asked for."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_large(most: int) -> RequestError:
    message = (
        f"the workspace has more than {most:,} files: register a smaller directory, "
        "or name in .gitignore what is generated"
    )
    return RequestError(413, message, param="workspace", code="too_large")

"""Which commit a directory is at, read from git's own files without running git; blocks.

gitrepository-layout(5): `HEAD` names a branch or a commit, a branch is a file of its own or a line
of `packed-refs`; in a worktree and a submodule `.git` is a file that says where to look. That is
outside of the directory, and this alone looks there: what it tells of it is a commit's hash, or the
name of a branch, and nothing that does not look like them.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_MAX_SMALL = 4_096
"""Bytes of a branch's file, and of a `.git` that is one."""
_MAX_PACKED = 64 * 1024 * 1024
"""About a million branches and tags."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"ref: (refs/[^\s\x00-\x1f\x7f~^:?*\[\\\ud800-\udfff]{1,1000})")


def head_of(root: Path) -> str | None:
    """The commit, or the name of a branch without any; None where there is no repository.

    Where branches are kept in a table (`reftable`), it is the name git leaves in HEAD for all.
    """
    git = _git_directory(root)
    if git is None:
        return None
    head = _read(git / "HEAD")
    if _COMMIT.fullmatch(head):
        return head
    named = _REF.fullmatch(head)
    if named is None or ".." in named[1]:
        return None
    return _resolved(git, named[1]) or named[1]


def _git_directory(root: Path) -> Path | None:
    git = root / ".git"
    if git.is_dir():
        return git
    pointed = _read(git)
    return root / pointed.removeprefix("gitdir: ") if pointed.startswith("gitdir: ") else None


def _resolved(git: Path, ref: str) -> str | None:
    """The commit that a branch is at."""
    common = _read(git / "commondir")
    # A worktree has a HEAD of its own, and its branches where the repository has them.
    for directory in (git, git / common) if common else (git,):
        for found in (_read(directory / ref), _packed(directory, ref)):
            if _COMMIT.fullmatch(found):
                return found
    return None


def _packed(directory: Path, ref: str) -> str:
    data = _data(directory / "packed-refs", _MAX_PACKED)
    end = data.find(f" {ref}\n".encode())
    return "" if end < 0 else os.fsdecode(data[data.rfind(b"\n", 0, end) + 1 : end])


def _read(path: Path) -> str:
    return os.fsdecode(_data(path, _MAX_SMALL)).strip()


def _data(path: Path, most: int) -> bytes:
    """What a regular file of at most `most` bytes holds; nothing where there is none."""
    try:
        handle = os.open(path, _FLAGS)  # not a FIFO that would be waited for
    except (OSError, ValueError):  # ValueError: a NUL in what `.git` says
        return b""
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        is_fit = stat.S_ISREG(status.st_mode) and status.st_size <= most
        return file.read(most) if is_fit else b""

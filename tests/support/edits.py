"""Edits of a small tree, of every kind that a cache might miss, and a reader without a cache."""

from __future__ import annotations

import os
import random
from pathlib import Path

from support.workspaces import tick

PATHS = ("a", "b", "d/a", "d/b", "d/deep/a", "link", "d/link")
LINKS = ("a", "d/a", "../a", "b", "deep/a", "d", "../outside", "/etc/hostname", "gone", "link")
SIZES = (0, 1, 8, 8, 8, 5000)


class Edits:
    """Changes what lies at a path, one step at a time."""

    KINDS = (
        *("rewrite", "overwrite_hidden", "rename_over", "truncate", "append"),
        *("link", "delete", "recreate", "chmod", "swap_directory", "undo_swap"),
    )

    def __init__(self, top: Path, seed: int) -> None:
        self.top = top
        self.choice = random.Random(seed)  # noqa: S311 - no secret

    def data(self) -> bytes:
        """New content, mostly of one size."""
        return self.choice.randbytes(self.choice.choice(SIZES))

    def rewrite(self, path: Path) -> None:
        """In place, cut off first."""
        path.write_bytes(self.data())

    def overwrite_hidden(self, path: Path) -> None:
        """In place, the same size, and the modification time set back."""
        before = path.stat()
        with path.open("r+b") as file:
            file.write(self.choice.randbytes(before.st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def rename_over(self, path: Path) -> None:
        """Another file takes its place, with the same size and times where it can have them."""
        new = self.top / ".new"
        before = path.stat() if path.is_file() else None
        new.write_bytes(self.choice.randbytes(before.st_size) if before else self.data())
        if before:
            os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.rename(path)

    def truncate(self, path: Path) -> None:
        """Cut, or lengthened by zeros."""
        os.truncate(path, self.choice.choice(SIZES))

    def append(self, path: Path) -> None:
        """At its end."""
        with path.open("ab") as file:
            file.write(b"+")

    def link(self, path: Path) -> None:
        """A symlink in its place, to somewhere inside or outside."""
        path.unlink(missing_ok=True)
        path.symlink_to(self.choice.choice(LINKS))

    def delete(self, path: Path) -> None:
        """Nothing there."""
        path.unlink()

    def recreate(self, path: Path) -> None:
        """Deleted and made again, perhaps with the same inode."""
        path.unlink(missing_ok=True)
        path.write_bytes(self.data())

    def chmod(self, path: Path) -> None:
        """Another mode."""
        path.chmod(self.choice.choice((0o600, 0o644, 0o755)))

    def swap_directory(self, path: Path) -> None:
        """Its directory moved away and back, or replaced by a symlink to where it went."""
        parent, away = path.parent, self.top.parent / "away"
        if parent == self.top or parent.is_symlink() or away.exists():
            return
        parent.rename(away)
        if self.choice.random() < 0.5:
            parent.symlink_to(away)

    def undo_swap(self, path: Path) -> None:
        """The directory is back where it was."""
        away = self.top.parent / "away"
        if path.parent.is_symlink():
            path.parent.unlink()
        if away.exists() and not path.parent.exists():
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            away.rename(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)

    def make(self, kind: str, path: str) -> None:
        """One edit; one that cannot be made at this path now is none."""
        target = self.top / path
        follows = kind in {"rewrite", "overwrite_hidden", "truncate", "append", "chmod"}
        if kind != "undo_swap" and self._leads_out(target if follows else target.parent):
            return
        try:
            getattr(self, kind)(target)
        except OSError:
            return

    def any(self) -> None:
        """Some edit somewhere."""
        self.make(self.choice.choice(self.KINDS), self.choice.choice(PATHS))

    def later(self) -> None:
        """What is changed from now on has later stamps than all before."""
        tick(self.top.parent)

    def _leads_out(self, target: Path) -> bool:
        # Not Path.resolve, which raises where symlinks go round.
        return not Path(os.path.realpath(target)).is_relative_to(self.top)


def fresh(top: Path, path: str) -> bytes | None:
    """What a reader without a cache finds beneath `top`; None for what it must not or cannot read.

    Written on other means than the cache's own: the system resolves the path, and every symlink on
    its way is looked at.
    """
    target = top / path
    try:
        real = target.resolve(strict=True)
        if not real.is_relative_to(top) or _has_absolute_link(top, path):
            return None
        return real.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: a loop of symlinks
        return None


def _has_absolute_link(top: Path, path: str) -> bool:
    """Whether the way leads over an absolute symlink, or out of the root and in again."""
    here, pending = top, path.split("/")
    while pending:
        part = pending.pop(0)
        here = here.parent if part == ".." else here / part
        if not here.is_relative_to(top):
            return True
        if here.is_symlink():
            target = os.fspath(here.readlink())
            if target.startswith("/"):
                return True
            here, pending = here.parent, target.split("/") + pending
    return False

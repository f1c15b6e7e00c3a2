"""What notifications of changes mean for what is kept: it is forgotten early, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fairlead.workspace.globbing import Globs
from fairlead.workspace.keeping import Kept
from fairlead.workspace.paths import Root
from fairlead.workspace.tree import list_tree


class Hints:
    """The audience of a `Watcher` (see there)."""

    def __init__(self, root: Root, kept: Kept, globs: Globs, drop: Callable[[], None]) -> None:
        """`drop()` forgets all contents."""
        self._root = root
        self._kept = kept
        self._globs = globs
        self._drop = drop

    def directories(self) -> Sequence[Path]:
        """Those in which there is a file that is not ignored, and those that lead to them."""
        self._root.mount()
        found = {"."}
        for file in list_tree(self._root, hidden=True).files:
            directory = file.path.rpartition("/")[0]
            while directory and directory not in found:
                found.add(directory)
                directory = directory.rpartition("/")[0]
        return [self._root.path / directory for directory in sorted(found)]

    def is_there(self) -> bool:
        """Whether the root's path still leads to the root."""
        return self._root.is_mounted()

    def changed(self, paths: Iterable[str], *, names: bool) -> None:
        """Forget the contents, and the results of globs where names came or went."""
        prefix = f"{self._root.path}/"
        for path in paths:
            self._kept.contents.pop(path.removeprefix(prefix))
        if names:
            self._globs.drop()

    def lost(self) -> None:
        """Forget everything."""
        self._drop()
        self._globs.drop()

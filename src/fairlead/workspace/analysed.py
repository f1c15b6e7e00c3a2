"""What is known of a repository's files, and the maps that follow from it; everything here blocks.

In memory a file takes about 16 KB (measured on Python's standard library): 1 KB for its stamps and
key, the rest in the reference graph (see `graph`). So 50,000 files take 800 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from fairlead.core.clock import Clock
from fairlead.errors import FairleadError
from fairlead.workspace.base import (
    DependencyGraph,
    FileAnalysis,
    RepositoryMap,
    SkipReason,
    Stamp,
    Tree,
    TreeFile,
)
from fairlead.workspace.dependencies import dependency_graph
from fairlead.workspace.focus import focus_of
from fairlead.workspace.gathering import Found
from fairlead.workspace.graph import ReferenceGraph
from fairlead.workspace.head import head_of
from fairlead.workspace.imports import TreeIndex, is_manifest
from fairlead.workspace.mapoptions import RepositoryOptions
from fairlead.workspace.paths import Root
from fairlead.workspace.rank import Ranker
from fairlead.workspace.reading import digest_of, read_file
from fairlead.workspace.render import render
from fairlead.workspace.tokens import token_counter
from fairlead.workspace.tree import TreeSnapshot

_MAX_MANIFESTS = 32 * 1024 * 1024
"""Bytes of all that are read; those for which there is no room are left out."""


class Look(NamedTuple):
    """The tree as it is, compared with what is known."""

    head: str | None
    tree: Tree
    changed: Sequence[TreeFile]
    """Those whose content is not known, or not for certain."""
    gone: Sequence[str]


class _Known(NamedTuple):
    """What is known of a file besides what the graph has."""

    stamp: Stamp
    key: str
    is_young: bool
    skipped: SkipReason | None


class Analysed:
    """A tree and what its files mean; no two calls at a time.

    Valid is what it says only for the tree of the last look that was absorbed; `version` is another
    after each that has changed anything.
    """

    def __init__(self, root: Root, options: RepositoryOptions, clock: Clock) -> None:
        self.version = 0
        self.head: str | None = None
        self.files = 0
        """Of the tree."""
        self.skipped: Counter[SkipReason] = Counter()
        self.broken = 0
        self._root = root
        self._snapshot = TreeSnapshot(max_files=options.max_files, clock=clock)
        self._listed: Sequence[TreeFile] = ()
        """The tree's files, where each of them is known as it was listed."""
        self._known: dict[str, _Known] = {}
        self._young = False
        """Some file was so young when it was read that its stamp proves nothing."""
        self._inside: Counter[SkipReason] = Counter()
        """Files of the tree that have no analysis."""
        self._seen: tuple[str | None, int, Mapping[SkipReason, int]] = (None, 0, {})
        """What the last look has found besides the files: HEAD, how many, what was left out."""
        self._graph = ReferenceGraph()
        self._ranker = Ranker(self._graph)
        self._index: TreeIndex | None = None
        """Of this version, once it was needed."""

    def look(self) -> Look:
        """List the tree and compare every stamp.

        Raises `StorageUnavailableError` where the directory is away, `RequestError` 413 for too
        many files.
        """
        self._root.mount()
        head = head_of(self._root.path)
        tree = self._snapshot.again(self._root)
        if self._listed == tree.files and not self._young:
            return Look(head, tree, (), ())
        changed = [file for file in tree.files if not self._is_known(file)]
        paths = {file.path for file in tree.files}
        return Look(head, tree, changed, [path for path in self._known if path not in paths])

    def _is_known(self, file: TreeFile) -> bool:
        known = self._known.get(file.path)
        return known is not None and known.stamp == file.stamp and not known.is_young

    def absorb(self, look: Look, found: Iterable[Found]) -> int:
        """Take in what the changed files mean; the version from now on."""
        now = {one.path: one for one in found}
        missing = [file.path for file in look.changed if file.path not in now]
        news: dict[str, FileAnalysis | None] = {}
        for path in (*look.gone, *missing):
            if self._known.pop(path, None) is not None:
                news[path] = None
        for path, one in now.items():
            before = self._known.get(path)
            self._known[path] = _Known(one.stamp, one.key, one.is_young, one.analysis.skipped)
            if before is None or before.key != one.key:
                news[path] = None if one.analysis.skipped else one.analysis
        self._listed = () if missing else look.tree.files
        self._take_in(news)
        self._note(look, is_new=bool(news))
        return self.version

    def _take_in(self, news: dict[str, FileAnalysis | None]) -> None:
        try:
            self._graph.update(news)
        except BaseException:
            # Half a change is in it: all is to be read again.
            self._known, self._listed = {}, ()
            self._graph = ReferenceGraph()
            self._ranker = Ranker(self._graph)
            raise

    def _note(self, look: Look, *, is_new: bool) -> None:
        """What maps tell besides the text, and whether there is anything new to tell."""
        seen = (look.head, len(look.tree.files), look.tree.skipped)
        if is_new or seen != self._seen:
            self.version += 1
            self._index = None
        self._seen = seen
        self.head, self.files, _ = seen
        if is_new or look.changed:
            known = self._known.values()
            self._young = any(one.is_young for one in known)
            self._inside = Counter(one.skipped for one in known if one.skipped is not None)
            self.broken = sum(file.is_broken for file in self._graph.files.values())
        self.skipped = self._inside + Counter(look.tree.skipped)

    def dependencies(self, paths: Sequence[str]) -> tuple[int, DependencyGraph]:
        """Which file uses which, and the version that this is of; see `dependency_graph`."""
        if self._index is None:
            self._index = TreeIndex(self._known, self._manifests())
        return self.version, dependency_graph(self._graph, self._index, paths)

    def _manifests(self) -> dict[str, bytes]:
        """What says how imports are looked for, as far as it can be read."""
        found: dict[str, bytes] = {}
        room = _MAX_MANIFESTS
        for path in sorted(filter(is_manifest, self._known)):
            # One that has changed since the look is seen by the next one.
            with suppress(FairleadError):
                found[path] = read_file(self._root, path.split("/"), room).content.data
                room -= len(found[path])
        return found

    def map(self, tokens: int, focus: Sequence[str]) -> tuple[int, RepositoryMap]:
        """A map, and the version that it is of; takes tens of milliseconds for 3,000 files."""
        counter = token_counter()
        ranking = self._ranker.rank(focus_of(focus, self._graph.files))
        rendered = render(ranking, self._graph, tokens, counter)
        told = f"{counter.name}\n{rendered.text}"
        return self.version, RepositoryMap(
            text=rendered.text,
            tokens=rendered.tokens,
            counted=counter.name,
            files=rendered.files,
            total_files=self.files,
            skipped=dict(self.skipped),
            broken=self.broken,
            etag=f'"{digest_of(told.encode())}"',
        )

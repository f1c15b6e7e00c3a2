"""Which file uses which, by the names that one defines and another refers to; kept up to date.

An edit changes the edges of its file, and those of the files that refer to a name which it has
begun or ceased to define: everything else stays. Not for several threads at a time.

A file of the standard library takes about 17 KB (33 definitions, 45 names that it uses): a third of
it are the stems of its words. Definitions are kept as they were encoded, names are shared by all.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

import msgspec

from fairlead.workspace.base import Definition, FileAnalysis
from fairlead.workspace.words import parts_of

MAX_DEFINERS = 10
"""A name that more files define says nothing of any of them (`main`, `get`, `__init__`).

With 20 the standard library has 115,000 edges instead of 65,000, and maps of four repositories show
the files that commits changed no more often."""

_LONG, _SHORT = 8, 3
"""Letters of a name that is hardly used for two things, and of one that is for many."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Definition, ...]).decode


class File:
    """What is kept of a file."""

    __slots__ = (
        "_definitions",
        "counts",
        "imports",
        "is_broken",
        "language",
        "names",
        "references",
    )

    def __init__(self, analysis: FileAnalysis) -> None:
        self.language = analysis.language
        self.is_broken = analysis.is_broken
        self.imports = tuple(map(sys.intern, analysis.imports))
        self._definitions = _encode(analysis.definitions)
        self.names = frozenset(sys.intern(one.name) for one in analysis.definitions)
        """That it defines."""
        self.references = tuple(map(sys.intern, analysis.references))
        self.counts = array("B", (min(255, count) for count in analysis.references.values()))
        """How often it refers to each."""

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """In the order of lines."""
        return _decode(self._definitions)


class ReferenceGraph:
    """Files, and edges from each to those that define what it refers to."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.edges: dict[str, dict[str, float]] = {}
        """The weights of a file's edges, by path."""
        self.popularity: Counter[str] = Counter()
        """How many files refer to each name."""
        self.stems: dict[str, dict[str, float]] = {}
        """Files by the stems of words in their paths and definitions, and how much each counts."""
        self.version = 0
        """Of the edges and files; another one after each change."""
        self._definers: dict[str, set[str]] = {}

    def definers(self, name: str) -> Collection[str]:
        """The files that define a name."""
        return self._definers.get(name, ())

    def update(self, changed: Mapping[str, FileAnalysis | None]) -> None:
        """Take in the analyses of files that are new or changed; None: the file is gone."""
        if not changed:
            return
        self.version += 1
        before = {path: self.files[path] for path in changed if path in self.files}
        after = {path: File(found) for path, found in changed.items() if found is not None}
        for path, file in before.items():
            self._take_out(path, file)
        for path, file in after.items():
            self._put_in(path, file)
        self._connect(self._affected(before, after))

    def _affected(self, before: Mapping[str, File], after: Mapping[str, File]) -> Iterable[str]:
        """The files whose edges may be others now."""
        if len(after) * 4 > len(self.files):
            return list(self.files)
        renamed: set[str] = set()
        for path in {*before, *after}:
            old = before[path].names if path in before else frozenset()
            new = after[path].names if path in after else frozenset()
            renamed |= old ^ new
        found = set(after)
        if renamed:
            found |= {
                path for path, file in self.files.items() if not renamed.isdisjoint(file.references)
            }
        return found

    def _take_out(self, path: str, file: File) -> None:
        del self.files[path], self.edges[path]
        for name in file.names:
            definers = self._definers[name]
            definers.discard(path)
            if not definers:
                del self._definers[name]
        for name in file.references:
            self.popularity[name] -= 1
            if not self.popularity[name]:
                del self.popularity[name]
        for stem in _stems(path, file):
            files = self.stems[stem]
            files.pop(path, None)
            if not files:
                del self.stems[stem]

    def _put_in(self, path: str, file: File) -> None:
        self.files[path] = file
        self.edges[path] = {}
        for name in file.names:
            self._definers.setdefault(name, set()).add(path)
        self.popularity.update(file.references)
        for stem, weight in _stems(path, file).items():
            self.stems.setdefault(stem, {})[path] = weight

    def _connect(self, paths: Iterable[str]) -> None:
        definers = self._definers
        for path in paths:
            file = self.files[path]
            edges: dict[str, float] = {}
            for name, count in zip(file.references, file.counts, strict=True):
                found = definers.get(name)
                if not found or len(found) > MAX_DEFINERS or path in found:
                    continue
                weight = name_weight(name) * _ROOTS[count] / len(found)
                for definer in found:
                    edges[definer] = edges.get(definer, 0.0) + weight
            self.edges[path] = edges


_ROOTS = [math.sqrt(number) for number in range(256)]


@lru_cache(maxsize=262_144)
def name_weight(name: str) -> float:
    """How likely it is that two files that have the name mean the same by it."""
    weight = 1.0
    if len(name) <= _SHORT:
        weight = 0.2
    elif len(name) >= _LONG and len(parts_of(name)) > 1:
        weight = 4.0
    return weight * 0.2 if name.startswith("_") else weight


def _stems(path: str, file: File) -> Mapping[str, float]:
    """The stems of a file's words and how much each counts: those of its name most."""
    directory, _, name = path.rpartition("/")
    found: dict[str, float] = dict.fromkeys(parts_of(directory), 1.0)
    for stem, count in Counter(
        stem for defined in file.names for stem in set(parts_of(defined))
    ).items():
        found[stem] = found.get(stem, 0.0) + 1.0 + math.log2(count)
    for stem in parts_of(name.partition(".")[0]):
        found[stem] = found.get(stem, 0.0) + 4.0
    return found

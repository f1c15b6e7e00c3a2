"""Which file of a tree uses which: by imports, and by names where a language has none (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from fairlead.errors import NotFoundError
from fairlead.workspace.base import DependencyGraph
from fairlead.workspace.graph import File, ReferenceGraph
from fairlead.workspace.imports import TreeIndex, resolve
from fairlead.workspace.imports.index import directory_of

MAX_DEFINERS = 3
"""A name that more files define does not tell which of them is meant."""
_COMMON = 200
"""Definers of a name that is not even looked for among neighbours."""
MIN_NAME = 4
"""Letters of a name that tells anything."""

_NAMED = frozenset(
    {"c_sharp", "ruby", "php", "kotlin", "swift", "scala", "lua", "bash", "c", "cpp"}
)
"""Languages whose imports name no files, or not all."""
_NEIGHBOURS = frozenset({"go", "java"})
"""Languages whose files see the names of their own directory without an import."""


def dependency_graph(
    graph: ReferenceGraph, index: TreeIndex, paths: Sequence[str] = ()
) -> DependencyGraph:
    """What the files below `paths` use (files and directories); of all files where there are none.

    Raises `NotFoundError` for a path that is neither.
    """
    uses: dict[str, Sequence[str]] = {}
    unresolved: dict[str, Sequence[str]] = {}
    for path in _asked(graph.files, paths):
        file = graph.files[path]
        found, missing = _imported(path, file, index)
        if file.language in _NAMED or file.language in _NEIGHBOURS:
            found |= _named(path, file, graph)
        found.discard(path)
        if found:
            uses[path] = sorted(found)
        if missing:
            unresolved[path] = missing
    # With escapes, because names of files may hold bytes that are no text.
    data = json.dumps((uses, unresolved)).encode()
    return DependencyGraph(uses, unresolved, f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def _asked(files: Mapping[str, File], paths: Sequence[str]) -> Iterable[str]:
    if not paths:
        return sorted(files)
    found: set[str] = set()
    for path in paths:
        name = path.removeprefix("./").rstrip("/")
        below = {one for one in files if one == name or one.startswith(f"{name}/")}
        if not below and name not in {"", "."}:
            raise NotFoundError("analysed file", path)
        found |= below or set(files)
    return sorted(found)


def _imported(path: str, file: File, index: TreeIndex) -> tuple[set[str], list[str]]:
    """The files that are imported, and the imports that lead to none."""
    found: set[str] = set()
    missing: list[str] = []
    for text in file.imports:
        files = resolve(path, file.language, text, index)
        found.update(files)
        if not files:
            missing.append(text)
    return found, missing


def _named(path: str, file: File, graph: ReferenceGraph) -> set[str]:
    """The files of the same language that define what this one refers to, where they are few."""
    own = directory_of(path) if file.language in _NEIGHBOURS else None
    found: set[str] = set()
    for name in file.references:
        definers = graph.definers(name)
        if len(name) < MIN_NAME or len(definers) > _COMMON or path in definers:
            continue
        seen = [one for one in definers if own is None or directory_of(one) == own]
        if len(seen) <= MAX_DEFINERS:
            found.update(one for one in seen if _related(file, graph.files[one]))
    return found


def _related(file: File, other: File) -> bool:
    both = {file.language, other.language}
    return len(both) == 1 or both == {"c", "cpp"}

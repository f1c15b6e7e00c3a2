"""What the parts of a workspace tell each other: stamps, contents, trees, analyses, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

Kind = Literal["file", "directory", "symlink", "other"]

SkipReason = Literal["binary", "huge", "symlink", "submodule", "unreadable", "special"]
"""Why a path of a tree has no analysis."""


class Stamp(NamedTuple):
    """The stat tuple that says whether a file is still the one that was read."""

    device: int
    inode: int
    size: int
    """Bytes."""
    modified_ns: int
    changed_ns: int
    """The inode's change: no program sets it back, as it can the modification time."""


class FileInfo(msgspec.Struct, frozen=True):
    """What a path leads to, symlinks within the root followed."""

    path: str
    """Relative to the root, with `/`; the root itself is an empty text."""
    kind: Kind
    mode: int
    """Permission bits."""
    stamp: Stamp


class Content(msgspec.Struct, frozen=True):
    """The bytes of a regular file as they were at one moment."""

    path: str
    data: bytes
    stamp: Stamp
    digest: str
    """The first 32 hex digits of the data's SHA-256."""

    @property
    def etag(self) -> str:
        """A strong entity tag (RFC 9110, 8.8.3)."""
        return f'"{self.digest}"'


class TextRange(msgspec.Struct, frozen=True):
    """Lines of a text file."""

    path: str
    text: str
    """With the line ends of the file."""
    encoding: str
    first: int
    """Number of the first line, from 1."""
    last: int
    """Number of the last line; `first - 1` where the range is empty."""
    lines: int
    """Of the whole file."""
    etag: str


# ---- trees


class TreeFile(NamedTuple):
    """A regular file of a tree."""

    path: str
    stamp: Stamp


class Tree(msgspec.Struct, frozen=True):
    """The files of a workspace at one moment, `.gitignore` obeyed."""

    files: Sequence[TreeFile]
    """Sorted by path."""
    skipped: Mapping[SkipReason, int]
    """How many paths are left out, and why."""


# ---- analyses


class Definition(msgspec.Struct, frozen=True, array_like=True):
    """Something that a file defines."""

    name: str
    kind: str
    """class, function, method, interface, type, module, constant, …"""
    line: int
    """From 1."""
    depth: int
    """How many definitions of the file it stands within."""
    signature: str
    """Its first line or lines as they stand in the file, without the body and without indentation
    that all have; at most 200 characters."""


class FileAnalysis(msgspec.Struct, frozen=True, array_like=True):
    """What one content means, wherever it lies; depends on bytes and language alone."""

    language: str | None
    """None: no language that is known."""
    definitions: tuple[Definition, ...] = ()
    """In the order of lines."""
    references: Mapping[str, int] = {}
    """How often each identifier is used; those of the definitions themselves do not count."""
    imports: tuple[str, ...] = ()
    """What it imports, as the language writes it (see `imports`), in order, each once."""
    is_broken: bool = False
    """The parser met errors; what was found is kept."""
    skipped: SkipReason | None = None


class AnalysisStore(Protocol):
    """Analyses by content digest and language, kept from run to run; may forget any of them."""

    async def get(self, keys: Sequence[str]) -> dict[str, FileAnalysis]:
        """Those that are there."""
        ...

    async def put(self, analyses: Mapping[str, FileAnalysis]) -> None:
        """Keep them."""
        ...


class Analyse(Protocol):
    """Analyses contents on other cores."""

    async def __call__(self, files: Sequence[tuple[str, bytes]]) -> Sequence[FileAnalysis]:
        """An analysis for each path and content, in the same order."""
        ...


# ---- maps


class MapFile(msgspec.Struct, frozen=True):
    """A file of a map and how much it matters."""

    path: str
    rank: float
    """The PageRank of the file; all files of the repository together have 1."""
    definitions: int
    """How many are shown."""


class RepositoryMap(msgspec.Struct, frozen=True):
    """The most important signatures of a repository under their files' names."""

    text: str
    tokens: int
    """Of the text."""
    counted: str
    """The tokenizer's name, or `approximate`."""
    files: Sequence[MapFile]
    """Those that are in the text, most important first."""
    total_files: int
    """Of the tree."""
    skipped: Mapping[SkipReason, int]
    broken: int
    """Files with errors of syntax."""
    etag: str


class DependencyGraph(msgspec.Struct, frozen=True):
    """File → files that it uses."""

    uses: Mapping[str, Sequence[str]]
    """Every file that uses any, sorted."""
    unresolved: Mapping[str, Sequence[str]]
    """Imports that lead to no file of the tree (standard library, installed packages)."""
    etag: str


class Progress(NamedTuple):
    """How far an analysis is."""

    done: int
    total: int
    """Files that have to be analysed."""

"""What a map is asked to be about: files, identifiers, words (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from fairlead.errors import RequestError
from fairlead.workspace.globs import compile_glob
from fairlead.workspace.words import asked_words

MAX_ENTRIES = 100
MAX_ENTRY = 4_096
"""Characters."""

_NAME = re.compile(r"[^\W\d]\w*")
_MAGIC = re.compile(r"[*?\[{]")


class Focus(msgspec.Struct, frozen=True):
    """What is to be raised."""

    files: frozenset[str] = frozenset()
    """Paths of the tree."""
    names: frozenset[str] = frozenset()
    """Identifiers, as they are written."""
    words: frozenset[str] = frozenset()
    """Stems of words (see `words`), which stand in paths and identifiers."""

    def __bool__(self) -> bool:
        return bool(self.files or self.names or self.words)


NOTHING = Focus()


def checked_focus(entries: Sequence[str]) -> tuple[str, ...]:
    """The entries, each once; raises `RequestError` 422 for too many or too long ones."""
    if len(entries) > MAX_ENTRIES or any(len(entry) > MAX_ENTRY for entry in entries):
        message = f"focus takes at most {MAX_ENTRIES} entries of at most {MAX_ENTRY:,} characters"
        raise RequestError(422, message, param="focus", code="focus")
    return tuple(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))


def focus_of(entries: Iterable[str], paths: Collection[str]) -> Focus:
    """What each entry stands for: a path or directory of the tree, a glob, else names and words.

    `paths` are all of the tree. An entry may be a whole sentence.
    """
    files: set[str] = set()
    names: set[str] = set()
    words: set[str] = set()
    known = paths if isinstance(paths, set | frozenset | dict) else set(paths)
    for entry in entries:
        if found := _files(entry.removeprefix("./"), known):
            files |= found
            continue
        names.update(_NAME.findall(entry))
        words.update(asked_words(entry))
    return Focus(frozenset(files), frozenset(names), frozenset(words))


def _files(entry: str, paths: Collection[str]) -> set[str]:
    if entry in paths:
        return {entry}
    if "/" in entry or entry.endswith("/"):
        below = f"{entry.rstrip('/')}/"
        if found := {path for path in paths if path.startswith(below)}:
            return found
    if _MAGIC.search(entry) and " " not in entry:
        try:
            glob = compile_glob(entry)
        except RequestError:
            return set()  # a sentence may have brackets in it
        return {path for path in paths if glob.matches(path)}
    if "." in entry or "/" in entry:
        return {path for path in paths if path.endswith(f"/{entry}")}
    return set()

"""A tree as resolvers look things up in it: paths, directories, and what manifests say."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import msgspec

MANIFESTS = frozenset(
    {
        "Cargo.toml",
        "go.mod",
        "jsconfig.json",
        "package.json",
        "tsconfig.base.json",
        "tsconfig.json",
    }
)
"""Names of the files that say how imports are looked for."""

_GO_MODULE = re.compile(r"^\s*module\s+\"?([^\s\"]+)", re.MULTILINE)
_ALIASES = frozenset({"baseUrl", "paths"})
# Strings first, so that what looks like a comment within one stays.
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


class Aliases(msgspec.Struct, frozen=True):
    """What a `tsconfig.json` says of modules that are not relative."""

    base: str
    """The directory that its patterns are relative to."""
    patterns: Mapping[str, tuple[str, ...]]
    has_base_url: bool


class TreeIndex:
    """The paths of a tree, and its manifests by path; what cannot be read of one is left out."""

    def __init__(self, paths: Collection[str], manifests: Mapping[str, bytes]) -> None:
        self.paths = frozenset(paths)
        self._manifests = {
            path: data.decode("utf-8", "replace") for path, data in manifests.items()
        }

    @cached_property
    def by_name(self) -> Mapping[str, list[str]]:
        """Paths by the last component, sorted."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            found[name_of(path)].append(path)
        return found

    @cached_property
    def by_directory(self) -> Mapping[str, list[str]]:
        """Paths by their directory (empty: the root), sorted."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            found[directory_of(path)].append(path)
        return found

    @cached_property
    def python_packages(self) -> Mapping[str, list[str]]:
        """Directories of Python packages by the last component, sorted."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in ("__init__.py", "__init__.pyi"):
            for path in self.by_name.get(name, ()):
                found[name_of(directory_of(path))].append(directory_of(path))
        return found

    @cached_property
    def go_modules(self) -> Mapping[str, str]:
        """Directories of Go modules, by the path with which their packages are imported."""
        return {
            named[1]: directory_of(path)
            for path, text in self._named("go.mod")
            if (named := _GO_MODULE.search(text))
        }

    @cached_property
    def crates(self) -> Mapping[str, str]:
        """Directories of Rust crates, by the name with which they are used."""
        found = {}
        for path, text in self._named("Cargo.toml"):
            told = _toml(text)
            for table in ("package", "lib"):
                given = told.get(table)
                if isinstance(given, dict) and isinstance(name := given.get("name"), str):
                    found[name.replace("-", "_")] = directory_of(path)
        return found

    @cached_property
    def packages(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """JavaScript packages of the tree by name: directory, and what its entries may be."""
        found = {}
        for path, text in self._named("package.json"):
            told = _json(text)
            if isinstance(name := told.get("name"), str) and name:
                entries = (told.get(key) for key in ("source", "types", "module", "main"))
                mains = tuple(entry for entry in entries if isinstance(entry, str))
                found[name] = (directory_of(path), mains)
        return found

    @cached_property
    def aliases(self) -> Mapping[str, Aliases]:
        """What TypeScript's configuration says, by the directory that it is for."""
        found = {}
        # The later name of a directory counts.
        for name in ("tsconfig.base.json", "jsconfig.json", "tsconfig.json"):
            for path, text in self._named(name):
                options = _json(text).get("compilerOptions")
                # One that says nothing of modules mostly extends one above that does.
                if isinstance(options, dict) and not _ALIASES.isdisjoint(options):
                    found[directory_of(path)] = _aliases(directory_of(path), options)
        return found

    def aliases_for(self, path: str) -> Aliases | None:
        """Those of the nearest directory above `path` that has some."""
        for directory in above(path):
            if directory in self.aliases:
                return self.aliases[directory]
        return None

    def _named(self, name: str) -> Iterator[tuple[str, str]]:
        return ((path, text) for path, text in self._manifests.items() if name_of(path) == name)


def is_manifest(path: str) -> bool:
    """Whether the file says how imports are looked for."""
    return name_of(path) in MANIFESTS


def name_of(path: str) -> str:
    """The last component."""
    return path.rpartition("/")[2]


def directory_of(path: str) -> str:
    """All but the last component; empty: the root."""
    return path.rpartition("/")[0]


def above(path: str) -> Iterator[str]:
    """The directories that `path` lies in, the nearest first, the root last."""
    directory = path
    while directory:
        directory = directory_of(directory)
        yield directory


def joined(directory: str, relative: str) -> str | None:
    """`relative`, which may have `.` and `..`, from `directory`; None where it leads out."""
    parts = directory.split("/") if directory else []
    for part in relative.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def shared(first: str, second: str) -> int:
    """How many directories two paths have in common."""
    number = 0
    for one, other in zip(first.split("/")[:-1], second.split("/")[:-1], strict=False):
        if one != other:
            break
        number += 1
    return number


def _aliases(directory: str, options: Mapping[str, Any]) -> Aliases:
    base_url = options.get("baseUrl")
    has_base = isinstance(base_url, str)
    base = (joined(directory, base_url) or "") if isinstance(base_url, str) else directory
    paths = options.get("paths")
    patterns = {
        pattern: tuple(target for target in targets if isinstance(target, str))
        for pattern, targets in (paths.items() if isinstance(paths, dict) else ())
        if isinstance(targets, list)
    }
    return Aliases(base, patterns, has_base)


def _json(text: str) -> dict[str, Any]:
    """The object in a JSON text that may have comments and commas too many; else an empty one."""
    plain = _COMMENT.sub(lambda found: found[1] or " ", text.removeprefix("\ufeff"))
    plain = _TRAILING.sub(lambda found: found[1] or "", plain)
    try:
        value = msgspec.json.decode(plain)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}

"""Rust: modules in files below their crate's (The Rust Reference, "Modules", "Paths")."""

from __future__ import annotations

from fairlead.workspace.imports.index import TreeIndex, above, directory_of, name_of

_CRATE_FILES = ("lib.rs", "main.rs")
_OWN_DIRECTORY = frozenset({"mod.rs", *_CRATE_FILES})


def resolve_rust(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The file of "mod name", or that in which the path "a::b::c" ends, in the file `path`."""
    if text.startswith("mod "):
        name = text[4:].strip()
        # A program's or a test's own file has its modules beside it.
        places = (_directory(path), directory_of(path))
        found = next((file for one in places if (file := _module(one, name, index))), None)
        return () if found is None else (found,)
    first, *rest = [part.strip() for part in text.split("::")]
    return _from_crate(path, first, rest, index) or _from_here(path, first, rest, index)


def _from_crate(path: str, first: str, rest: list[str], index: TreeIndex) -> tuple[str, ...]:
    """A path that begins with `crate`, or with another crate of the tree."""
    if first == "crate":
        root = _crate_root(path, index)
    elif first in index.crates:
        root = "/".join(filter(None, [index.crates[first], "src"]))
    else:
        return ()
    files = (f"{root}/{name}" if root else name for name in _CRATE_FILES)
    start = next((file for file in files if file in index.paths), None)
    return () if root is None else _followed(root, rest, start, index)


def _from_here(path: str, first: str, rest: list[str], index: TreeIndex) -> tuple[str, ...]:
    """A path that begins with `self`, `super` or a module of this one."""
    directory = _directory(path)
    if first == "self":
        return _followed(directory, rest, path, index)
    if first != "super":
        return _followed(directory, [first, *rest], None, index)
    directory = directory_of(directory)
    while rest and rest[0] == "super":
        directory, rest = directory_of(directory), rest[1:]
    return _followed(directory, rest, _file_of(directory, index), index)


def _followed(
    directory: str, parts: list[str], start: str | None, index: TreeIndex
) -> tuple[str, ...]:
    """The file of the last part that is a module; what comes after it is defined there."""
    found = start
    for part in parts:
        file = _module(directory, part, index)
        if file is None:
            break
        found = file
        directory = f"{directory}/{part.removeprefix('r#')}".lstrip("/")
    return () if found is None else (found,)


def _module(directory: str, name: str, index: TreeIndex) -> str | None:
    plain = name.removeprefix("r#")
    base = f"{directory}/{plain}" if directory else plain
    names = (f"{base}.rs", f"{base}/mod.rs")
    return next((one for one in names if one in index.paths), None)


def _directory(path: str) -> str:
    """Where the modules lie that a file declares."""
    return directory_of(path) if name_of(path) in _OWN_DIRECTORY else path.removesuffix(".rs")


def _file_of(directory: str, index: TreeIndex) -> str | None:
    """The file of the module whose own modules lie in `directory`."""
    names = (f"{directory}/{name}" for name in _OWN_DIRECTORY)
    return next((one for one in (f"{directory}.rs", *names) if one in index.paths), None)


def _crate_root(path: str, index: TreeIndex) -> str | None:
    """The nearest directory above that has a crate's first file."""
    for directory in above(path):
        if any(f"{directory}/{name}".lstrip("/") in index.paths for name in _CRATE_FILES):
            return directory
    return None

"""Python: modules beneath the directories that imports may begin in.

Python Language Reference, section 5, "The import system". Which directories are on `sys.path` is
not known. Those above the importing file may be, so that a script finds what lies beside it; others
where they hold the package that is imported, or are called as directories of sources are. One that
is a package itself is not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from fairlead.workspace.imports.index import TreeIndex, directory_of, name_of, shared

_SUFFIXES = (".py", ".pyi", "/__init__.py", "/__init__.pyi")
_PACKAGES = ("__init__.py", "__init__.pyi")
_SOURCES = frozenset({"src", "lib", "python"})


def resolve_python(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The files of "a.b", "a.b:c,d" or "..x:y" in the file `path`."""
    module, _, listed = text.partition(":")
    names = [name.strip() for name in listed.split(",") if name.strip()]
    dots = len(module) - len(module.lstrip("."))
    if dots:
        directory = _parent(directory_of(path), dots - 1)
        return () if directory is None else _below(directory, module[dots:], names, index)
    for roots in (_roots(path, module, index), _namespaces(path, module, names, index)):
        for root in roots:
            if found := _below(root, module, names, index):
                return found
    return ()


def _parent(directory: str, levels: int) -> str | None:
    for _ in range(levels):
        if not directory:
            return None
        directory = directory_of(directory)
    return directory


def _roots(path: str, module: str, index: TreeIndex) -> Sequence[str]:
    """Directories in which the module's first part lies, the likeliest first."""
    first = module.partition(".")[0]
    packages = {directory_of(found) for found in index.python_packages.get(first, ())}
    files = {directory_of(found) for found in index.by_name.get(f"{first}.py", ())}
    sources = {root for root in files if name_of(root) in _SOURCES}
    roots = (root for root in files if _is_above(root, path))
    return _ordered({*roots, *_importable(packages | sources, path, first)}, path, index)


def _namespaces(path: str, module: str, names: Sequence[str], index: TreeIndex) -> Iterator[str]:
    """Directories beneath which the whole module lies, though its packages have no file."""
    first = module.partition(".")[0]
    wanted = (module, *(f"{module}.{name}" for name in names))
    for dotted in (one for one in wanted if "." in one):
        last, tail = dotted.rpartition(".")[2], f"/{dotted.replace('.', '/')}"
        files = (one.removesuffix(".py") for one in index.by_name.get(f"{last}.py", ()))
        places = (f"/{one}" for one in (*files, *index.python_packages.get(last, ())))
        roots = {place[1 : -len(tail)] for place in places if place.endswith(tail)}
        yield from _ordered(_importable(roots, path, first), path, index)


def _importable(roots: Iterable[str], path: str, first: str) -> Iterator[str]:
    """Those from which `path` imports a module whose name begins with `first`."""
    # A module of the standard library is what it is, unless something nearer hides it.
    is_standard = first in sys.stdlib_module_names
    return (root for root in roots if not is_standard or _is_above(root, path))


def _is_above(directory: str, path: str) -> bool:
    return not directory or path.startswith(f"{directory}/")


def _ordered(roots: Iterable[str], path: str, index: TreeIndex) -> list[str]:
    """Those that are no packages, the nearest first."""
    found = [
        root
        for root in roots
        if not root or not any(f"{root}/{name}" in index.paths for name in _PACKAGES)
    ]
    return sorted(found, key=lambda root: (-shared(f"{root}/x", path), len(root), root))


def _below(root: str, module: str, names: Sequence[str], index: TreeIndex) -> tuple[str, ...]:
    """The files of a module beneath a directory: of its names' modules, else its own."""
    parts = [part for part in (root, *module.split(".")) if part]
    base = "/".join(parts)
    if names:
        found = (_file(f"{base}/{name}".lstrip("/"), index) or _file(base, index) for name in names)
        return tuple(dict.fromkeys(filter(None, found)))
    # What no file is meant by may be defined in the package around it.
    for number in range(len(parts), 1 if root else 0, -1):
        if file := _file("/".join(parts[:number]), index):
            return (file,)
    return ()


def _file(module: str, index: TreeIndex) -> str | None:
    """The file of a module by its path without ending."""
    names = (f"{module}{suffix}" for suffix in _SUFFIXES) if module else iter(_PACKAGES)
    return next((name for name in names if name in index.paths), None)

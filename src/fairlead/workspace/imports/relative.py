"""C, C++ and Ruby: paths from the file's own directory, for headers from any directory."""

from __future__ import annotations

from fairlead.workspace.imports.index import TreeIndex, directory_of, joined, name_of, shared


def resolve_include(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The header of `#include "text"` (C17, 6.10.2): beside the file, or in an include directory.

    Which directories those are is known to the build alone: the nearest file of that path counts.
    """
    beside = joined(directory_of(path), text)
    if beside in index.paths:
        return (beside,)
    tail = joined("", text.replace("../", ""))
    found = [
        one
        for one in index.by_name.get(name_of(text), ())
        if one == tail or one.endswith(f"/{tail}")
    ]
    return (min(found, key=lambda one: (-shared(one, path), one)),) if found else ()


def resolve_ruby(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The file of `require_relative "text"`."""
    place = joined(directory_of(path), text)
    names = () if place is None else (place, f"{place}.rb")
    return tuple(name for name in names if name in index.paths)[:1]

"""Java: a class is a file below its package's directory (Java Language Specification, 7.2)."""

from __future__ import annotations

from fairlead.workspace.imports.index import TreeIndex, directory_of, shared


def resolve_java(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The files of "a.b.C", "a.b.*" or "static a.b.C.d" in the file `path`."""
    name = text.removeprefix("static ").strip()
    if name.endswith(".*"):
        package = name[:-2]
        # Of a class, whose members or inner classes are meant, or of a package.
        return _class(path, package, index) or _package(path, package, index)
    return _class(path, name, index)


def _class(path: str, name: str, index: TreeIndex) -> tuple[str, ...]:
    parts = name.split(".")
    # Inner classes and static members stand in the file of the class around them.
    while len(parts) > 1:
        tail = "/".join(parts) + ".java"
        found = [
            one
            for one in index.by_name.get(f"{parts[-1]}.java", ())
            if one == tail or one.endswith(f"/{tail}")
        ]
        if found:
            return (min(found, key=lambda one: (-shared(one, path), one)),)
        parts.pop()
    return ()


def _package(path: str, name: str, index: TreeIndex) -> tuple[str, ...]:
    tail = name.replace(".", "/")
    directories = [
        directory
        for directory in index.by_directory
        if directory == tail or directory.endswith(f"/{tail}")
    ]
    files = (file for directory in directories for file in index.by_directory[directory])
    return tuple(
        file
        for file in files
        if file.endswith(".java") and file != path and directory_of(file) in directories
    )

"""Go: a package is a directory below its module's (Go Modules Reference, "Modules, packages")."""

from __future__ import annotations

from fairlead.workspace.imports.index import TreeIndex


def resolve_go(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:  # noqa: ARG001 - as all
    """The files of the package that is imported as `text`."""
    modules = [name for name in index.go_modules if text == name or text.startswith(f"{name}/")]
    if not modules:
        return ()
    module = max(modules, key=len)
    rest = text[len(module) + 1 :]
    directory = "/".join(filter(None, [index.go_modules[module], rest]))
    files = index.by_directory.get(directory, ())
    return tuple(file for file in files if file.endswith(".go") and not file.endswith("_test.go"))

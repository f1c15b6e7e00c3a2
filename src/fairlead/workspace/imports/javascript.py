"""JavaScript and TypeScript: relative modules, `paths` and `baseUrl`, packages of the tree.

TypeScript Handbook, "Modules - Theory" and tsconfig reference (`paths`, `baseUrl`); Node.js manual,
"Modules: CommonJS modules", all together.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.workspace.imports.index import Aliases, TreeIndex, directory_of, joined

_ENDINGS = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts")
# TypeScript imports its own files by the names that they will have when they are compiled.
_COMPILED = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}


def resolve_javascript(path: str, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The file of a module's specifier in the file `path`."""
    text = text.partition("?")[0]  # bundlers take options there
    if text.startswith(("./", "../")) or text in {".", ".."}:
        place = joined(directory_of(path), text)
        found = None if place is None else _module(place, index)
    else:
        candidates = (*_aliased(text, index.aliases_for(path)), *_packaged(text, index))
        found = next((file for place in candidates if (file := _module(place, index))), None)
    return () if found is None else (found,)


def _module(place: str, index: TreeIndex) -> str | None:
    """The file for a path that may lack its ending, or be a directory."""
    if place in index.paths:
        return place
    stem, dot, ending = place.rpartition(".")
    for compiled in _COMPILED.get(f".{ending}", ()) if dot else ():
        if f"{stem}{compiled}" in index.paths:
            return f"{stem}{compiled}"
    base = f"{place}/index" if place else "index"
    names = (f"{start}{end}" for start in (place, base) if start for end in _ENDINGS)
    return next((name for name in names if name in index.paths), None)


def _aliased(text: str, aliases: Aliases | None) -> Iterator[str]:
    if aliases is None:
        return
    # The longest beginning wins.
    for pattern in sorted(aliases.patterns, key=lambda one: -len(one.partition("*")[0])):
        start, star, end = pattern.partition("*")
        if not (text.startswith(start) and text.endswith(end) if star else text == pattern):
            continue
        middle = text[len(start) : len(text) - len(end)]
        for target in aliases.patterns[pattern]:
            if place := joined(aliases.base, target.replace("*", middle, 1)):
                yield place
    if aliases.has_base_url and (place := joined(aliases.base, text)):
        yield place


def _packaged(text: str, index: TreeIndex) -> Iterator[str]:
    """A package of the same tree, or a file of one."""
    parts = text.split("/")
    name = "/".join(parts[: 2 if text.startswith("@") else 1])
    if name not in index.packages:
        return
    directory, entries = index.packages[name]
    rest = text[len(name) + 1 :]
    wanted = (rest, f"src/{rest}") if rest else (*entries, "src", "lib", "")
    for one in wanted:
        place = joined(directory, one)
        if place is not None:
            yield place

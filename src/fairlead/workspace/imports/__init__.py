"""Which files of a tree an import means, as each language looks for them (pure).

Texts of imports are those of `FileAnalysis.imports`: Python "a.b", "a.b:c,d", "..x:y"; JavaScript
and TypeScript the specifier; Go the path; Rust "mod a" and "a::b::c"; Java "a.b.C", "a.b.*" and
"static a.b.C.d"; C and C++ the quoted path; Ruby that of `require_relative`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead.workspace.imports.go import resolve_go
from fairlead.workspace.imports.index import MANIFESTS, TreeIndex, is_manifest
from fairlead.workspace.imports.java import resolve_java
from fairlead.workspace.imports.javascript import resolve_javascript
from fairlead.workspace.imports.python import resolve_python
from fairlead.workspace.imports.relative import resolve_include, resolve_ruby
from fairlead.workspace.imports.rust import resolve_rust

__all__ = ["MANIFESTS", "TreeIndex", "is_manifest", "resolve"]

_RESOLVERS: Mapping[str, Callable[[str, str, TreeIndex], tuple[str, ...]]] = {
    "python": resolve_python,
    "javascript": resolve_javascript,
    "typescript": resolve_javascript,
    "tsx": resolve_javascript,
    "go": resolve_go,
    "rust": resolve_rust,
    "java": resolve_java,
    "c": resolve_include,
    "cpp": resolve_include,
    "ruby": resolve_ruby,
}


def resolve(path: str, language: str | None, text: str, index: TreeIndex) -> tuple[str, ...]:
    """The files that an import in the file `path` means; none where it leads out of the tree."""
    resolver = _RESOLVERS.get(language or "")
    return () if resolver is None else resolver(path, text, index)

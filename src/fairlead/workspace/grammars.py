"""What the tree-sitter grammars and the queries of this package find in a content.

The only module that imports tree-sitter and its grammars. It loads a library for each language:
import it late, and only where contents are analysed.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import NamedTuple

import tree_sitter_bash
import tree_sitter_c
import tree_sitter_c_sharp
import tree_sitter_cpp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_kotlin
import tree_sitter_lua
import tree_sitter_php
import tree_sitter_python
import tree_sitter_ruby
import tree_sitter_rust
import tree_sitter_scala
import tree_sitter_swift
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

__all__ = ["Captures", "Found", "Node", "capture"]

MAX_STEPS = 60_000
"""Reports of progress after which a parse ends: 1 MiB of usual code needs about 7,000, of the
densest 30,000. Counted, not timed: a content has one analysis whatever machine it is made on."""
_CHUNK = 65_536
"""Bytes handed to the parser at a time."""
MAX_TREE_DEPTH = 500
"""Nodes of the syntax tree below which nothing is looked for: the library's cost is quadratic."""
MAX_ERROR_NODES = 10_000
"""Directly in one error: the cost of a query is quadratic in them."""
MAX_UNCLOSED = 10_000
"""Brackets of a kind that open more often than they close."""
_PAIRS = (b"()", b"[]", b"{}")
COSTLY_HEAD = 8_192
"""Bytes at the beginning of a content whose whole would cost too much."""

_CAPSULES = {
    "python": tree_sitter_python.language,
    "javascript": tree_sitter_javascript.language,
    "typescript": tree_sitter_typescript.language_typescript,
    "tsx": tree_sitter_typescript.language_tsx,
    "go": tree_sitter_go.language,
    "rust": tree_sitter_rust.language,
    "java": tree_sitter_java.language,
    "c": tree_sitter_c.language,
    "cpp": tree_sitter_cpp.language,
    "c_sharp": tree_sitter_c_sharp.language,
    "ruby": tree_sitter_ruby.language,
    "php": tree_sitter_php.language_php,
    "kotlin": tree_sitter_kotlin.language,
    "swift": tree_sitter_swift.language,
    "scala": tree_sitter_scala.language,
    "lua": tree_sitter_lua.language,
    "bash": tree_sitter_bash.language,
}
_QUERIES = {"javascript": ("javascript", "jsx"), "tsx": ("typescript", "jsx")}
"""Files of queries for the languages that do not have one of their own name alone."""


class Found(NamedTuple):
    """A definition as the query captures it."""

    kind: str
    node: Node
    name: Node
    body: Node | None


class Captures(NamedTuple):
    """What the query of a language finds in a content."""

    definitions: list[Found]
    references: list[Node]
    imports: list[Node]
    is_broken: bool
    """Some of it is not of the language's grammar, or it cost too much to go on."""


def capture(language: str, data: bytes) -> Captures:
    """Definitions, references and imports of a content, in the order of the query's patterns.

    Of a content that would cost too much (unbalanced brackets by the thousand), only the beginning
    is looked at, and of that nothing where it is like this too.
    """
    for part in (data, data[:COSTLY_HEAD]):
        tree = None if _is_lopsided(part) else _parse(language, part)
        if tree is not None and not _is_costly(tree.root_node):
            captures = _captures(language, tree.root_node)
            return captures._replace(is_broken=captures.is_broken or part != data)
    return Captures([], [], [], is_broken=True)


def _captures(language: str, root: Node) -> Captures:
    captures = Captures([], [], [], is_broken=root.has_error)
    cursor = QueryCursor(_query(language))  # its own progress callback crashes the process (0.26.1)
    cursor.set_max_start_depth(MAX_TREE_DEPTH)
    for _, found in sorted(cursor.matches(root), key=itemgetter(0)):
        _sort_in(found, captures)
    return captures


def _is_lopsided(data: bytes) -> bool:
    """Whether so many brackets are open that a parser may run out of stack (tree-sitter 0.26.1)."""
    return any(data.count(pair[:1]) - data.count(pair[1:]) > MAX_UNCLOSED for pair in _PAIRS)


def _is_costly(root: Node) -> bool:
    """Whether an error holds so many nodes that a query would take seconds."""
    errors = [root, *(node for node in root.children if node.is_error)] if root.has_error else []
    return any(node.is_error and node.child_count > MAX_ERROR_NODES for node in errors)


def _sort_in(found: dict[str, list[Node]], captures: Captures) -> None:
    if "reference" in found:
        captures.references.extend(found["reference"])
    elif "import" in found:
        captures.imports.extend(found["import"])
    else:
        body = found.get("body")
        kind = next(key for key in found if key not in {"name", "body"})
        node, name = found[kind][0], found["name"][0]
        captures.definitions.append(Found(kind, node, name, body[0] if body else None))


def _parse(language: str, data: bytes) -> Tree | None:
    """The syntax tree; None where it would take too long."""
    steps = iter(range(MAX_STEPS))
    parser = Parser(_language(language))
    try:
        return parser.parse(
            lambda offset, _point: data[offset : offset + _CHUNK],
            progress_callback=lambda _offset, _has_error: next(steps, None) is None,
        )
    except ValueError:  # what the library raises when the callback ends the parse
        return None


@cache
def _language(language: str) -> Language:
    return Language(_CAPSULES[language]())


@cache
def _query(language: str) -> Query:
    directory = files("fairlead.workspace").joinpath("queries")
    names = _QUERIES.get(language, (language,))
    texts = [directory.joinpath(f"{name}.scm").read_text(encoding="utf-8") for name in names]
    return Query(_language(language), "\n".join(texts))

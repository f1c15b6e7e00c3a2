"""What a file means to the rest of its repository: definitions, references and imports.

Nothing here reads a file or the clock; `analyse` can be sent to other processes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fairlead.workspace.base import Definition, FileAnalysis
from fairlead.workspace.import_texts import import_texts
from fairlead.workspace.languages import language_of_content
from fairlead.workspace.signatures import signature

if TYPE_CHECKING:
    from fairlead.workspace.grammars import Found, Node

ANALYSIS_VERSION = 1
"""Counts changes of grammars, queries and rules; analyses of other versions are not used."""
MAX_ANALYSED = 1_048_576
"""Bytes; larger files are data or generated."""
MAX_DEFINITIONS = 5_000
MAX_REFERENCES = 20_000
"""Different names."""
MAX_IMPORTS = 5_000
MAX_NAME = 200
"""Bytes; what is longer is no name that anybody wrote."""

_BINARY_HEAD = 8_192
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HOLD_METHODS = frozenset(
    {"class", "struct", "trait", "interface", "impl", "enum", "object", "extension", "protocol"}
)


def analyse(path: str, data: bytes) -> FileAnalysis:
    """The analysis of a content; `path` tells the language only. Never raises for a content."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if b"\0" in data[:_BINARY_HEAD]:
        return FileAnalysis(language=None, skipped="binary")
    language = language_of_content(path, data)
    if len(data) > MAX_ANALYSED:
        return FileAnalysis(language=language, skipped="huge")
    if language is None:
        return FileAnalysis(language=None)
    return _analysed(language, data)


def _analysed(language: str, data: bytes) -> FileAnalysis:
    # Late: the grammars are sixteen shared libraries, and only worker processes need them.
    from fairlead.workspace.grammars import capture  # noqa: PLC0415

    captures = capture(language, data)
    found = _distinct(captures.definitions)
    names = {definition.name.start_byte for definition in found}
    return FileAnalysis(
        language=language,
        definitions=_definitions(language, data, found),
        references=_references(data, captures.references, names),
        imports=_imports(language, captures.imports),
        is_broken=captures.is_broken,
    )


def _distinct(found: list[Found]) -> list[Found]:
    """One definition for each name in the text: of several patterns that match, the first."""
    by_name: dict[int, Found] = {}
    for definition in found:
        by_name.setdefault(definition.name.start_byte, definition)
    ordered = sorted(by_name.values(), key=lambda each: (each.node.start_byte, -each.node.end_byte))
    return ordered[:MAX_DEFINITIONS]


def _definitions(language: str, data: bytes, found: list[Found]) -> tuple[Definition, ...]:
    around: list[tuple[int, str]] = []
    definitions = []
    for each in found:
        while around and around[-1][0] <= each.node.start_byte:
            around.pop()
        is_method = each.kind == "function" and around and around[-1][1] in _HOLD_METHODS
        kind = "method" if is_method else each.kind
        definitions.append(_definition(language, data, each, kind, len(around)))
        around.append((each.node.end_byte, kind))
    definitions.sort(key=lambda definition: definition.line)
    return tuple(definitions)


def _definition(language: str, data: bytes, found: Found, kind: str, depth: int) -> Definition:
    header_end = found.node.end_byte if found.body is None else found.body.start_byte
    name = data[found.name.start_byte : found.name.end_byte]
    return Definition(
        name=name[:MAX_NAME].decode("utf-8", "replace"),
        kind=kind,
        line=found.name.start_point[0] + 1,
        depth=depth,
        signature=signature(language, kind, data, found.node.start_byte, header_end),
    )


def _references(data: bytes, nodes: list[Node], names: set[int]) -> dict[str, int]:
    """How often each name is used; a node that several patterns match counts once."""
    spans = {node.start_byte: node.end_byte for node in nodes}
    counts = Counter(
        data[start:end]
        for start, end in spans.items()
        if start not in names and end - start <= MAX_NAME
    )
    most = counts.most_common(MAX_REFERENCES)
    return {name.decode("utf-8", "replace"): count for name, count in most}


def _imports(language: str, nodes: list[Node]) -> tuple[str, ...]:
    nodes = sorted(nodes, key=lambda node: node.start_byte)[:MAX_IMPORTS]
    texts = dict.fromkeys(text for node in nodes for text in import_texts(language, node))
    return tuple(texts)[:MAX_IMPORTS]

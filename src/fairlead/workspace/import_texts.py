"""What import statements of each language say, as short texts that `imports` resolves."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.workspace.grammars import Node

MAX_LEAVES = 500
"""Names that one statement may import; those beyond are left out."""


def import_texts(language: str, node: Node) -> list[str]:
    """The texts of one captured node: usually one, one a leaf for Rust's `use` trees."""
    return _READERS.get(language, _quoted)(node)


def text_of(node: Node) -> str:
    """The source of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def _python(node: Node) -> list[str]:
    names = [_before_as(child) for child in node.children_by_field_name("name")[:MAX_LEAVES]]
    if node.type == "import_statement":
        return names
    module = node.child_by_field_name("module_name")
    if any(child.type == "wildcard_import" for child in node.named_children):
        names = ["*"]
    origin = _packed(module) if module is not None else "__future__"
    return [f"{origin}:{','.join(names)}"]


def _before_as(node: Node) -> str:
    original = node.child_by_field_name("name")
    return _packed(node if original is None else original)


def _packed(node: Node) -> str:
    """Without blanks, line ends and backslashes, which may stand around dots."""
    return re.sub(r"[\s\\]+", "", text_of(node))


def _rust(node: Node) -> list[str]:
    if node.type == "mod_item":
        name = node.child_by_field_name("name")
        return [] if name is None else [f"mod {text_of(name)}"]
    tree = node.child_by_field_name("argument")
    waiting = [] if tree is None else [("", tree)]
    leaves: list[str] = []
    while waiting and len(leaves) < MAX_LEAVES:
        before, part = waiting.pop()
        if part.type in {"scoped_use_list", "use_list"}:
            path = part.child_by_field_name("path")
            members = part if part.type == "use_list" else part.child_by_field_name("list")
            inside = before if path is None else f"{before}{_packed(path)}::"
            if members is not None:
                waiting += [(inside, child) for child in reversed(members.named_children)]
        elif part.type == "use_as_clause":
            original = part.child_by_field_name("path")
            leaves += [] if original is None else [before + _packed(original)]
        elif part.type not in {"line_comment", "block_comment"}:
            leaves.append(before + _packed(part))
    return [leaf.removesuffix("::self") for leaf in leaves]


def _java(node: Node) -> list[str]:
    said = text_of(node).removeprefix("import").strip().rstrip(";")
    is_static = re.match(r"static\s", said)
    path = re.sub(r"\s+", "", said[6:] if is_static else said)
    return [f"static {path}" if is_static else path]


def _quoted(node: Node) -> list[str]:
    """A string's content."""
    path = text_of(node).strip("\"'`")
    return [path] if path else []


_READERS: dict[str, Callable[[Node], list[str]]] = {"python": _python, "rust": _rust, "java": _java}

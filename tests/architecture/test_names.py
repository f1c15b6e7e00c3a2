"""Names that say nothing, and handlers that hide everything."""

from __future__ import annotations

import ast

import pytest

from support.source import Module, modules

EMPTY_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "manager", "managers"})
MAY_CATCH_ALL = frozenset({"fairlead.core.tasks", "fairlead.web.protocol", "fairlead.web.rim"})
"""Where a task ends, and where an answer must be given whatever has happened."""

EVERY = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


@EVERY
def test_a_modules_name_says_what_is_in_it(module: Module) -> None:
    assert not EMPTY_NAMES & set(module.name.split("."))


@EVERY
def test_only_the_rims_catch_everything(module: Module) -> None:
    broad = broad_handlers(module.tree)

    assert broad == [] or module.name in MAY_CATCH_ALL


def broad_handlers(tree: ast.Module) -> list[int]:
    """Lines where everything is caught and kept; a handler that tidies up and re-raises is none."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or _names_all(node.type)
            if everything and ast.unparse(node.body[-1]) != "raise":
                found.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            found += [node.lineno] * any(map(_names_all, node.args))
    return found


def _names_all(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(_names_all, node.elts))
    return ast.unparse(node) in {"Exception", "BaseException"}


@EVERY
def test_every_module_says_what_it_is(module: Module) -> None:
    assert module.docstring


@pytest.mark.parametrize(
    ("code", "broad"),
    [
        ("try: x\nexcept: y", True),
        ("try: x\nexcept Exception: y", True),
        ("try: x\nexcept (KeyError, BaseException): y", True),
        ("try: x\nexcept BaseException:\n  y\n  raise", False),
        ("try: x\nexcept BaseException:\n  if y: raise", True),
        ("try: x\nexcept BaseException:\n  raise Other", True),
        ("try: x\nexcept KeyError: y", False),
        ("with contextlib.suppress(Exception): x", True),
        ("with suppress(OSError): x", False),
    ],
)
def test_the_rule_itself(code: str, broad: bool) -> None:
    assert bool(broad_handlers(ast.parse(code))) == broad

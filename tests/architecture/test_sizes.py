"""How long things are: the sizes of docs/architecture.md."""

from __future__ import annotations

import re
import statistics

import pytest

from support.source import FunctionNode, Module, length, modules

LONG, TOO_LONG = 400, 600
MAX_FUNCTION, MEDIAN_FUNCTION, P90_FUNCTION = 60, 10, 35
MAX_PARAMETERS = 8
REASON = re.compile(r"\b(long|longer|lines|one file|one module|in one place)\b")
"""What a docstring says in some form where it explains why a file is long."""

EVERY = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


@EVERY
def test_a_long_file_says_why_and_none_is_too_long(module: Module) -> None:
    assert module.lines <= TOO_LONG
    assert module.lines <= LONG or REASON.search(module.docstring)


@EVERY
def test_no_function_is_too_long(module: Module) -> None:
    long = {f.name: length(f) for f in module.functions() if length(f) > MAX_FUNCTION}

    assert long == {}


def test_functions_are_short_in_general() -> None:
    lengths = sorted(length(f) for module in modules() for f in module.functions())

    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert statistics.quantiles(lengths, n=10)[-1] <= P90_FUNCTION


@EVERY
def test_no_function_takes_too_many_parameters(module: Module) -> None:
    many = {f.name: count for f in module.functions() if (count := _count(f)) > MAX_PARAMETERS}
    if module.name.startswith("fairlead.cli"):
        # There parameters are the command line's options; constructors have none to excuse.
        many = {name: count for name, count in many.items() if name == "__init__"}

    assert many == {}


def _count(function: FunctionNode) -> int:
    given = function.args
    names = [a.arg for a in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
    return len([name for name in names if name not in {"self", "cls"}])

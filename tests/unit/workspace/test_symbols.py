"""Analyses of whatever a file may contain: bounds, broken contents, no exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.grammars import MAX_ERROR_NODES
from fairlead.workspace.languages import LANGUAGES
from fairlead.workspace.signatures import MAX_SIGNATURE, signature
from fairlead.workspace.symbols import (
    MAX_ANALYSED,
    MAX_DEFINITIONS,
    MAX_NAME,
    MAX_REFERENCES,
    analyse,
)

SUFFIXES = ["py", "js", "ts", "tsx", "go", "rs", "java", "c", "cpp", "cs", "rb", "php", "kt"]
SUFFIXES += ["swift", "scala", "lua", "sh"]


def names(analysis: FileAnalysis) -> list[str]:
    return [definition.name for definition in analysis.definitions]


def test_an_empty_file_has_nothing() -> None:
    assert analyse("a.py", b"") == FileAnalysis(language="python")


def test_a_file_of_no_language_has_nothing() -> None:
    assert analyse("notes.txt", b"def f(): pass") == FileAnalysis(language=None)


@pytest.mark.parametrize(
    ("data", "skipped"),
    [
        (b"x = 1\0", "binary"),
        (b"#" * 8_191 + b"\0", "binary"),
        (b"#" * 8_192 + b"\0", None),
        (b"#" * MAX_ANALYSED, None),
        (b"#" * (MAX_ANALYSED + 1), "huge"),
    ],
)
def test_what_is_no_source_is_skipped(data: bytes, skipped: str | None) -> None:
    assert analyse("a.py", data).skipped == skipped


def test_what_was_found_in_a_broken_file_is_kept() -> None:
    analysis = analyse("a.py", b"def f(a):\n    return g(a)\n\nclass B:\n    def (\n")

    assert analysis.is_broken
    assert "f" in names(analysis)
    assert analysis.references["g"] == 1


def test_line_ends_and_the_byte_order_mark_change_nothing() -> None:
    text = b"import a\n\ndef f(\n    x,\n    y,\n):\n    return g(x)\n"

    assert analyse("a.py", b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")) == analyse("a.py", text)


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    (definition,) = analyse("a.py", b"def f(a='\xe9'):\n    pass\n").definitions

    assert definition.signature == "def f(a='\N{REPLACEMENT CHARACTER}'):"


def test_definitions_and_references_are_bounded() -> None:
    text = "".join(f"def f{i}():\n    return g{i}()\n\n" for i in range(MAX_REFERENCES + 10))

    analysis = analyse("a.py", text.encode())

    assert len(analysis.definitions) == MAX_DEFINITIONS
    assert len(analysis.references) == MAX_REFERENCES


def test_a_file_of_100_000_lines_is_analysed() -> None:
    text = b"x = f(1)\n" * 100_000

    assert analyse("a.py", text).references == {"f": 100_000}


def test_names_that_nobody_wrote_are_bounded() -> None:
    name = "n" * (MAX_NAME + 1)

    analysis = analyse("a.py", f"def {name}(): {name}()\n".encode())

    assert names(analysis) == [name[:MAX_NAME]]
    assert analysis.references == {}


@pytest.mark.parametrize("text", ["f(" * 50_000, "f(" * 50_000 + ")" * 50_000, "a" + ".b" * 50_000])
def test_deep_nesting_ends(text: str) -> None:
    analysis = analyse("a.py", b"def first(): pass\n" + text.encode())

    assert names(analysis) == ["first"]


def test_of_a_content_that_costs_too_much_the_beginning_is_kept() -> None:
    analysis = analyse("a.py", b"def first(): pass\n" + b"(" * MAX_ERROR_NODES * 2)

    assert analysis.is_broken
    assert analysis == analyse("a.py", b"def first(): pass\n" + b"(" * MAX_ERROR_NODES * 4)


def test_unclosed_brackets_do_not_exhaust_the_stack_of_the_parser() -> None:
    analysis = analyse("A.java", b"class First {}\n" + b"[{(" * 300_000)

    assert analysis.is_broken
    assert names(analysis) == ["First"]


def test_a_use_is_counted_once_however_many_patterns_find_it() -> None:
    analysis = analyse("a.py", b"from a import f\n@f(f(1))\ndef g(x: f) -> f: ...\n")

    assert analysis.references == {"f": 5}


def test_depth_counts_definitions_alone() -> None:
    analysis = analyse(
        "a.py", b"if x:\n  class A:\n    if y:\n      def m(self):\n        def i(): pass\n"
    )

    found = [(each.name, each.kind, each.depth) for each in analysis.definitions]
    assert found == [("A", "class", 0), ("m", "method", 1), ("i", "function", 2)]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "def f(  # why\n    a,\n    b,\n)  ->  int:", "def f(a, b)  ->  int:"),
        ("python", "def f(a='#'):", "def f(a='#'):"),
        (
            "java",
            "@Override\n@A(b = 1)\nint f(\n  int a, // first\n  int b) {",
            "int f(int a, int b)",
        ),
        ("rust", "fn f<T>(a: T)\nwhere\n    T: A,\n", "fn f<T>(a: T) where T: A"),
        ("c_sharp", "[A][B(1)]\nint F()", "int F()"),
        ("lua", "function f( -- why\n  a)", "function f(a)"),
        ("c", "", ""),
    ],
)
def test_a_signature_is_one_line(language: str, text: str, expected: str) -> None:
    assert signature(language, "function", text.encode(), 0, len(text)) == expected


def test_a_signature_is_bounded() -> None:
    text = b"def f(" + b"argument, " * 1_000 + b"):"

    assert len(signature("python", "function", text, 0, len(text))) == MAX_SIGNATURE


def test_there_is_a_suffix_for_every_language() -> None:
    assert {analyse(f"a.{suffix}", b"").language for suffix in SUFFIXES} == set(LANGUAGES)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(
    data=st.binary(max_size=300)
    | st.text("(){}[]<>\"'`#/*:=;, \nabdefclstru", max_size=300).map(str.encode)
)
def test_no_content_raises(suffix: str, data: bytes) -> None:
    analysis = analyse(f"a.{suffix}", data)

    lines = [definition.line for definition in analysis.definitions]
    assert lines == sorted(lines)
    assert all(0 < line <= data.count(b"\n") + 1 for line in lines)

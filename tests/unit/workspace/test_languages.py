"""Which language a file is written in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.workspace.languages import LANGUAGES, language_of, language_of_content


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b.py", "python"),
        ("a.pyi", "python"),
        ("a.jsx", "javascript"),
        ("a.d.ts", "typescript"),
        ("a.tsx", "tsx"),
        ("a.h", "c"),
        ("A.HPP", "cpp"),
        ("a.kts", "kotlin"),
        ("x/Rakefile", "ruby"),
        (".bashrc", "bash"),
        ("python", None),
        ("py", None),
        (".py", None),
        ("a.py.txt", None),
        ("", None),
    ],
)
def test_a_name_tells_the_language(path: str, language: str | None) -> None:
    assert language_of(path) == language


@pytest.mark.parametrize(
    ("line", "language"),
    [
        (b"#!/usr/bin/env python3.11", "python"),
        (b"#!/usr/bin/env -S A=b node --flag", "javascript"),
        (b"#! /bin/sh -e\r", "bash"),
        (b"#!/usr/bin/perl", None),
        (b"#!", None),
        (b"#!/usr/bin/env", None),
        (b"print(1)", None),
        (b"", None),
    ],
)
def test_an_interpreter_tells_the_language(line: bytes, language: str | None) -> None:
    assert language_of_content("bin/tool", line + b"\nx") == language


def test_a_suffix_that_is_not_known_is_believed() -> None:
    assert language_of_content("a.txt", b"#!/bin/sh\n") is None


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (b"int f(void);\n", "c"),
        (b"#pragma once\nclass Store;\n", "cpp"),
        (b"namespace app {\n}\n", "cpp"),
        (b"  template <typename T>\n", "cpp"),
        (b"/* a class of its own */\nstruct classy { int x; };\n", "c"),
    ],
)
def test_a_header_is_the_language_that_it_looks_like(header: bytes, language: str) -> None:
    assert language_of_content("include/a.h", header) == language


@given(st.text(), st.binary())
def test_whatever_a_file_is_there_is_an_answer(path: str, data: bytes) -> None:
    assert language_of_content(path, data) in {*LANGUAGES, None}

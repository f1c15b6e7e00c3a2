"""What a focus stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.workspace.focus import (
    MAX_ENTRIES,
    MAX_ENTRY,
    NOTHING,
    Focus,
    checked_focus,
    focus_of,
)

PATHS = ["src/shop/cart.py", "src/shop/prices.py", "src/web/page.py", "README.md", "odd[1].py"]


@pytest.mark.parametrize(
    ("entry", "files"),
    [
        ("src/shop/cart.py", ["src/shop/cart.py"]),
        ("./README.md", ["README.md"]),
        ("cart.py", ["src/shop/cart.py"]),
        ("shop/cart.py", ["src/shop/cart.py"]),
        ("src/shop", ["src/shop/cart.py", "src/shop/prices.py"]),
        ("src/", ["src/shop/cart.py", "src/shop/prices.py", "src/web/page.py"]),
        ("**/p*.py", ["src/shop/prices.py", "src/web/page.py"]),
        ("src/{web,none}/*", ["src/web/page.py"]),
        ("odd[1].py", ["odd[1].py"]),
    ],
)
def test_files(entry: str, files: list[str]) -> None:
    assert focus_of([entry], PATHS) == Focus(files=frozenset(files))


def test_an_identifier_is_a_name_and_its_words() -> None:
    found = focus_of(["ShoppingCart"], PATHS)

    assert found == Focus(names=frozenset({"ShoppingCart"}), words=frozenset({"shop", "cart"}))


def test_a_sentence() -> None:
    found = focus_of(["Fix the [total] of a cart?", "src/web/page.py"], PATHS)

    assert found.files == {"src/web/page.py"}
    assert found.words == {"total", "cart"}
    assert "total" in found.names


@pytest.mark.parametrize("entry", ["[", "{a", "no/such.py", "/", "...", "", "what?"])
def test_what_is_no_file_is_no_error(entry: str) -> None:
    assert focus_of([entry], PATHS).files == frozenset()


def test_nothing() -> None:
    assert not NOTHING
    assert not focus_of([], PATHS)
    assert not focus_of(["the of"], PATHS).words
    assert focus_of(["cart"], PATHS)


def test_checked() -> None:
    assert checked_focus([" a ", "b", "a", "", "  "]) == ("a", "b")
    assert len(checked_focus([str(number) for number in range(MAX_ENTRIES)])) == MAX_ENTRIES
    assert checked_focus(["x" * MAX_ENTRY])


@pytest.mark.parametrize("entries", [["x"] * (MAX_ENTRIES + 1), ["x" * (MAX_ENTRY + 1)]])
def test_too_much(entries: list[str]) -> None:
    with pytest.raises(RequestError, match="at most") as caught:
        checked_focus(entries)
    assert (caught.value.status, caught.value.param) == (422, "focus")


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_text(entries: list[str]) -> None:
    assert focus_of(entries, PATHS).files <= set(PATHS)

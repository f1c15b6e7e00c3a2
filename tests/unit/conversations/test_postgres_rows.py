"""Records as PostgreSQL's rows: what its text cannot hold, and the words of a search."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from fairlead.conversations.postgres_rows import (
    MAX_POSITION,
    MAX_WORD,
    columns,
    conjunction,
    given,
    head_of,
    is_id,
    kept,
    summary_row,
    thread_row,
    vector,
)
from fairlead.conversations.records import Head
from fairlead.core.ids import uuid7

_LEXEME = re.compile(r"'((?:[^'\\]|''|\\\\)*)':([0-9,]+)")


def words_in(written: str) -> dict[str, list[int]]:
    """The lexemes of a vector without their tenant, and where they stand."""
    found = _LEXEME.findall(written)
    assert " ".join(f"'{word}':{places}" for word, places in found) == written
    return {word[8:]: [int(place) for place in places.split(",")] for word, places in found}


@for_all(st.text(st.characters(exclude_characters="\ufdd0", exclude_categories=["Cs"])))
def test_text_comes_back_as_it_was_and_holds_no_nul(text: str) -> None:
    assert "\x00" not in kept(text)
    assert given(kept(text)) == text


def test_a_vector_has_every_word_with_its_places() -> None:
    assert words_in(vector("team", "To be, or not TO be")) == {
        "to": [1, 5],
        "be": [2, 6],
        "or": [3],
        "not": [4],
    }
    assert vector("team", " -- ") == ""


@for_all(st.text())
def test_a_vector_can_be_read_whatever_was_said(text: str) -> None:
    words_in(vector("team", text))


def test_a_vector_stays_within_what_postgresql_takes() -> None:
    places = words_in(vector("team", "same " * 20_000 + "x" * 3_000))
    assert len(places["same"]) == 255
    assert places["x" * MAX_WORD] == [MAX_POSITION]


def test_words_of_tenants_differ_and_those_of_a_query_are_the_same() -> None:
    assert vector("one", "word") != vector("two", "word")
    lexeme = vector("one", "word").partition(":")[0]
    assert conjunction("one", ["word", "x" * 3_000]).split(" & ")[0] == lexeme
    long = vector("one", "x" * 3_000).partition(":")[0]
    assert conjunction("one", ["x" * 3_000]) == long


def test_a_head_comes_back_from_its_rows() -> None:
    head = Head(
        id=str(uuid7()),
        tenant="team",
        user_id="ann",
        title="a \ufdd0 title",
        last_message="last \ufdd0",
        session="session",
        participants=("ann", "large"),
        version=3,
    )
    thread, summary = thread_row(head), summary_row(head)
    stored = [thread[1], thread[0], *thread[2:5], *thread[6:], *summary[3:6]]
    found = head_of([*stored, msgspec.json.decode(summary[6])])
    assert found == head


def test_columns_turn_rows_around() -> None:
    assert columns([(1, "a"), (2, "b")]) == [[1, 2], ["a", "b"]]
    assert columns([]) == []


@pytest.mark.parametrize(
    "text", ["", "abc", "01890000000070008000000000000000", "01890000-0000-7000-8000-00000000000G"]
)
def test_ids_are_canonical(text: str) -> None:
    assert is_id(str(uuid7()))
    assert not is_id(text)
    assert not is_id(f"{uuid7()}\n")

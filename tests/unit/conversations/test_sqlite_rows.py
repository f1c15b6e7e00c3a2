"""Records as rows of SQLite, and back."""

from __future__ import annotations

import uuid

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.sqlite_rows import (
    NO_ID,
    conjunction,
    id_bytes,
    id_text,
    indexed,
    known_id,
)
from fairlead.conversations.texts import terms_of, words_of


@given(st.uuids())
def test_an_id_is_the_sixteen_bytes_of_its_uuid(identity: uuid.UUID) -> None:
    assert id_bytes(str(identity)) == identity.bytes
    assert id_text(identity.bytes) == str(identity)


@pytest.mark.parametrize("text", ["", "no", "x" * 32, "0" * 31, "0" * 33, "0" * 30 + "é", " " * 36])
def test_what_is_no_id_is_refused_or_nobodys(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its text is Python's own in some cases
        id_bytes(text)
    assert known_id(text) == NO_ID


@given(st.one_of(st.text(), st.text(st.characters(max_codepoint=127))))
def test_every_word_that_is_indexed_has_its_tenant_before_it(text: str) -> None:
    assert indexed(12, text).split() == [f"12x{word}" for word in words_of(text)]


@pytest.mark.parametrize(
    ("first", "second"), [((1, "2xa"), (12, "a")), ((1, "x1"), (1, "1")), ((11, "a"), (1, "1a"))]
)
def test_words_of_two_tenants_are_never_the_same(
    first: tuple[int, str], second: tuple[int, str]
) -> None:
    assert indexed(*first) != indexed(*second)


@given(st.text(), st.text())
def test_a_text_is_found_by_its_own_words_and_by_no_other_tenant(text: str, more: str) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE texts USING fts5 (words, content='', contentless_delete=1, "
        "tokenize='ascii')"
    )
    connection.execute("INSERT INTO texts (rowid, words) VALUES (1, ?)", [indexed(3, text + more)])
    terms = terms_of(text + more)
    if terms:
        found = "SELECT rowid FROM texts WHERE words MATCH ?"
        assert connection.execute(found, [conjunction(3, terms)]).get == 1
        assert connection.execute(found, [conjunction(33, terms)]).get is None

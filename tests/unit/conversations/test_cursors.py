"""Cursors: they lead where they came from, and nothing else is accepted."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.cursors import (
    MAX_OFFSET,
    list_cursor,
    list_position,
    search_cursor,
    search_offset,
)
from fairlead.conversations.records import Head, Order, Scope
from fairlead.conversations.texts import title_key
from fairlead.errors import RequestError

orders = st.sampled_from(["last_activity", "created", "title"])
scopes = st.sampled_from(["user", "team", "shared"])
titles = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=200)
"""No title has a NUL: PostgreSQL could not keep it."""
HEAD = Head(
    "0190a0b0-0000-7000-8000-000000000000", "acme", title="Größe", created=5, last_activity=9
)


@given(order=orders, scope=scopes, title=titles, created=st.integers(0, 1 << 47))
def test_a_cursor_says_where_it_came_from(
    order: Order, scope: Scope, title: str, created: int
) -> None:
    head = Head(HEAD.id, "acme", title=title, created=created, last_activity=created + 1)
    values = {"title": title_key(title), "created": created, "last_activity": created + 1}

    cursor = list_cursor(head, order, scope)

    assert list_position(cursor, order, scope) == (values[order], HEAD.id)
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_none_begins_at_the_beginning() -> None:
    assert list_position(None, "title", "team") is None
    assert search_offset(None, "words") == 0


@pytest.mark.parametrize(("order", "scope"), [("created", "team"), ("title", "shared")])
def test_another_listing_takes_it_not(order: Order, scope: Scope) -> None:
    cursor = list_cursor(HEAD, "title", "team")

    with pytest.raises(RequestError, match="another order or scope") as raised:
        list_position(cursor, order, scope)
    assert (raised.value.status, raised.value.param) == (400, "cursor")


def forged(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "a",
        "ä",
        "x" * 5000,
        forged(b"null"),
        forged(b'["list","title","team",5,"x"]'),
        forged(b'["list","title","team","x"]'),
        forged(b'["list","title","team",1e99,"x"]'),
        forged(b'["search","x",1]'),
        forged(b"[" * 3000),
        forged(b'["list","title","team","\xff","x"]'),
        forged(b'["list","title","team","\\ud800","x"]'),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(RequestError) as raised:
        list_position(cursor, "title", "team")

    assert raised.value.param == "cursor"


@pytest.mark.parametrize(
    ("order", "value", "thread", "is_ours"),
    [
        ("created", "5", HEAD.id, True),
        ("created", str((1 << 63) - 1), HEAD.id, True),
        ("created", str(1 << 63), HEAD.id, False),
        ("created", "-1", HEAD.id, False),
        ("created", "5", "x", False),
        ("created", "5", HEAD.id.upper(), False),
        ("title", '"a"', HEAD.id, True),
        ("title", '"a\\u0000"', HEAD.id, False),
    ],
)
def test_only_what_stores_can_compare_with_is_let_through(
    order: Order, value: str, thread: str, is_ours: bool
) -> None:
    cursor = forged(f'["list","{order}","team",{value},"{thread}"]'.encode())
    if is_ours:
        assert list_position(cursor, order, "team") is not None
    else:
        with pytest.raises(RequestError):
            list_position(cursor, order, "team")


@given(st.text(max_size=60))
def test_any_word_is_a_cursor_or_refused(word: str) -> None:
    with pytest.raises(RequestError):
        list_position(word, "created", "user")


@given(text=st.text(min_size=1), offset=st.integers(0, MAX_OFFSET))
def test_a_search_goes_on(text: str, offset: int) -> None:
    cursor = search_cursor(text, offset)

    assert search_offset(cursor, text) == offset
    with pytest.raises(RequestError, match="another search"):
        search_offset(cursor, text + "!")


@pytest.mark.parametrize("offset", [-1, MAX_OFFSET + 1, 1 << 70])
def test_a_search_has_an_end(offset: int) -> None:
    ours = search_cursor("x", 0)
    assert ours is not None
    digest = base64.urlsafe_b64decode(ours + "==").split(b'"')[3].decode()

    with pytest.raises(RequestError):
        search_offset(forged(f'["search","{digest}",{offset}]'.encode()), "x")
    assert search_cursor("x", MAX_OFFSET + 1) is None

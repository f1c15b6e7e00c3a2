"""Words are found, whatever they are, where the viewer may look."""

from __future__ import annotations

import pytest

from fairlead.conversations.records import (
    SearchQuery,
    Viewer,
)
from fairlead.conversations.texts import MATCH_END, MATCH_START
from support.threads import (
    Desk,
    Store,
    begun,
    found_titles,
    said,
    whole,
    wrote,
)


async def test_words_of_messages_and_titles_are_found(store: Store, ann: Desk) -> None:
    await begun(store, ann, "Move the code to OAuth", title="first")
    await begun(store, ann, ["unrelated"], "a café in Zürich, naïve", title="second")
    await begun(store, ann, "nothing", title="OAuth for all")
    await begun(store, ann, "проверка 日本 日本語 йод", title="third")
    seen = ann.viewer
    assert await found_titles(store, seen, "oauth") == {"first", "OAuth for all"}
    assert await found_titles(store, seen, "OAUTH code") == {"first"}
    assert await found_titles(store, seen, "cafe zurich") == {"second"}
    assert await found_titles(store, seen, "CAFÉ") == {"second"}
    assert await found_titles(store, seen, "Cafe\u0301") == {"second"}
    assert await found_titles(store, seen, "Проверка") == {"third"}
    assert await found_titles(store, seen, "ЙОД") == {"third"}
    assert await found_titles(store, seen, "日本語") == {"third"}
    assert await found_titles(store, seen, "oauth cafe") == set()
    assert await found_titles(store, seen, "OAut") == set()


async def test_all_words_have_to_be_in_one_message(store: Store, ann: Desk) -> None:
    await begun(store, ann, "red", "green", title="blue")
    assert await found_titles(store, ann.viewer, "red green") == set()
    assert await found_titles(store, ann.viewer, "red blue") == set()


@pytest.mark.parametrize(
    "text",
    [
        "", " ", '"', '" OR NEAR( * :', "*", "a*", "(", "title:one", "-one", "^one", "one AND",
        "one\0two", "'; DROP TABLE messages; --", "&|!<->", "one:*", "\ud83d", "x" * 5_000,
        " ".join(f"w{number}" for number in range(500)), "one NEAR two", "🎉", "\\", "%s",
        "{}", "_", "NOT",
    ],
)  # fmt: skip
async def test_a_hostile_query_is_but_words(store: Store, ann: Desk, text: str) -> None:
    await begun(store, ann, "one two", title="plain")
    expected = {"plain"} if text in {"-one", "^one", "one:*", "one\0two"} else set()
    assert await found_titles(store, ann.viewer, text) == expected


@pytest.mark.parametrize("word", ["and", "or", "not", "near", "the", "a"])
async def test_words_that_mean_something_to_an_engine_are_words(
    store: Store, ann: Desk, word: str
) -> None:
    await begun(store, ann, "and or not near the a", title="yes")
    await begun(store, ann, "nothing of it", title="no")
    assert await found_titles(store, ann.viewer, f"{word.upper()}") == {"yes"}


@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("snake_case_name", "case"),
        ("https://example.org/a-b?c=d", "example"),
        ("src/auth/login.py:42", "login"),
        ("v1.2e5-rc3 10.0.0.1", "2e5"),
        ("🤖word", "word"),
        ("a\0b", "b"),
        ("straße", "STRASSE"),
        ("user@example.org", "user"),
        ("-5 +7.25", "25"),
    ],
)
async def test_words_are_runs_of_letters_and_digits(
    store: Store, ann: Desk, content: str, query: str
) -> None:
    await begun(store, ann, content, title="it")
    expected = set() if query == "STRASSE" else {"it"}
    assert await found_titles(store, ann.viewer, query) == expected


async def test_a_search_finds_what_the_viewer_sees(store: Store, ann: Desk, bob: Desk) -> None:
    thread = await begun(store, ann, "needle", title="private")
    other = Desk(f"other-{ann.viewer.tenant}", "ann")
    assert await found_titles(store, ann.viewer, "needle") == {"private"}
    assert await found_titles(store, Viewer(ann.viewer.tenant), "needle") == {"private"}
    assert await found_titles(store, bob.viewer, "needle") == set()
    assert await found_titles(store, other.viewer, "needle") == set()
    await wrote(store, ann.update(thread, shared=True))
    assert await found_titles(store, bob.viewer, "needle") == {"private"}
    assert await found_titles(store, other.viewer, "needle") == set()


async def test_what_is_not_there_any_more_is_not_found(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann, "first needle", "second pin", title="old hay")
    first, second = await whole(store, ann.viewer.tenant, thread)
    await wrote(store, ann.edit(thread, first.id, "changed thorn"))
    assert await found_titles(store, ann.viewer, "needle") == set()
    assert await found_titles(store, ann.viewer, "thorn") == {"old hay"}
    await wrote(store, ann.remove(thread, second.id))
    assert await found_titles(store, ann.viewer, "pin") == set()
    await wrote(store, ann.update(thread, title="new straw"))
    assert await found_titles(store, ann.viewer, "hay") == set()
    assert await found_titles(store, ann.viewer, "straw") == {"new straw"}
    await wrote(store, ann.delete(thread))
    assert await found_titles(store, ann.viewer, "thorn") == set()
    assert await found_titles(store, ann.viewer, "straw") == set()


async def test_hits_show_where(store: Store, ann: Desk) -> None:
    long = "before " * 100 + "the Needle is here " + "after " * 100
    thread = await begun(store, ann, "hay", long, title="Needles and a needle")
    (hit,) = await store.search(SearchQuery(ann.viewer, "needle"))
    assert hit.head == await store.head(ann.viewer.tenant, thread)
    by_place = {match.sequence: match.snippet for match in hit.matches}
    assert set(by_place) == {None, 2}
    assert by_place[None] == f"Needles and a {MATCH_START}needle{MATCH_END}"
    assert f"the {MATCH_START}Needle{MATCH_END} is here" in by_place[2]
    assert len(by_place[2]) < 250


async def test_hits_come_best_first_in_pages(store: Store, ann: Desk) -> None:
    await store.apply([ann.create(f"pin {number}", title=f"t{number}") for number in range(25)])
    found: list[str] = []
    scores: list[float] = []
    for offset in range(0, 40, 10):
        page = await store.search(SearchQuery(ann.viewer, "pin", 10, offset))
        assert len(page) <= 10
        found += [hit.head.title for hit in page]
        scores += [hit.score for hit in page]
    assert sorted(found) == sorted(f"t{number}" for number in range(25))
    assert scores == sorted(scores, reverse=True)


async def test_a_thread_is_one_hit(store: Store, ann: Desk) -> None:
    await begun(store, ann, *["the same pin"] * 30, title="pin")
    await begun(store, ann, "another pin")
    found = await store.search(SearchQuery(ann.viewer, "pin", limit=10))
    assert len(found) == 2
    assert all(0 < len(hit.matches) <= 5 for hit in found)


async def test_what_stands_beside_a_content_is_found_and_shown(store: Store, ann: Desk) -> None:
    call = {"id": "c", "function": {"name": "write_file", "arguments": '{"path": "oauth.py"}'}}
    create = ann.create(title="called")
    await wrote(store, create)
    said_so = [
        said(None, metadata={"tool_calls": [call]}),
        said(None, metadata={"refusal": "I cannot say"}),
    ]
    await wrote(store, ann.add(create.thread, *said_so))
    for words, expected in (("oauth py", "oauth"), ("cannot", "cannot")):
        (hit,) = await store.search(SearchQuery(ann.viewer, words))
        (match,) = hit.matches
        assert f"{MATCH_START}{expected}{MATCH_END}" in match.snippet


async def test_no_word_of_another_tenant_is_met(store: Store, ann: Desk, team: str) -> None:
    eve = Desk(f"other-{team}", "eve")
    await begun(store, ann, "nothing", title="mine")
    # Signs that are letters to one table of Unicode, and part words by another.
    for sign in "\u19b0\u19c8\u1cf2":
        for number in range(1, 30):
            thread = await begun(store, eve, f"{sign}{number}xpassword evil")
            await wrote(store, eve.update(thread, shared=True))
    for viewer in (ann.viewer, Viewer(team, None)):
        assert await store.search(SearchQuery(viewer, "password")) == []


async def test_signs_that_differ_are_words_that_differ(store: Store, ann: Desk) -> None:
    await begun(store, ann, "\u19b1\u19b2", title="one")
    assert await found_titles(store, ann.viewer, "\u19b5\u19b6") == set()
    assert await found_titles(store, ann.viewer, "\u19b1\u19b2") == {"one"}

from __future__ import annotations

from contextlib import suppress
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.texts import (
    MATCH_END,
    MATCH_START,
    MAX_TERMS,
    MAX_TEXT,
    TITLE_WIDTH,
    snippet,
    terms_of,
    text_of,
    title_key,
    title_of,
    value_of,
    words_of,
)
from fairlead.errors import RequestError


def text(content: Any) -> str:
    return text_of(msgspec.json.encode(content))


# ---- the text of a content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hello", "hello"),
        ("", ""),
        (None, ""),
        (12, ""),
        ([{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}], "one\ntwo"),
        ([{"type": "thinking", "thinking": "hm", "signature": "c2ln"}], "hm"),
        (
            [{"type": "tool_use", "id": "1", "name": "read", "input": {"path": "a.py", "n": 3}}],
            "read\na.py",
        ),
        (
            [{"type": "tool_use", "id": "1", "name": "read", "input": {"in": [{"x": "y"}]}}],
            "read\ny",
        ),
        ([{"type": "tool_result", "tool_use_id": "1", "content": "found"}], "found"),
        (
            [
                {
                    "type": "tool_result",
                    "tool_use_id": "1",
                    "content": [{"type": "text", "text": "f"}],
                }
            ],
            "f",
        ),
        ([{"type": "image", "source": {"type": "base64", "data": "aGVsbG8="}}], ""),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}], ""),
        (
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": 1}'},
            'f\n{"a": 1}',
        ),
        ({"type": "function_call_output", "call_id": "1", "output": "done"}, "done"),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]}, "so"),
        ({"anything": {"at": ["all"]}}, "all"),
        ("a\0b\x02c\x03d\ne\tf", "a b c d\ne\tf"),
    ],
)
def test_the_text_is_what_can_be_read(content: Any, expected: str) -> None:
    assert text(content) == expected


def test_the_text_is_bounded() -> None:
    assert text("x" * 100_000) == "x" * MAX_TEXT
    assert len(text(["word " * 1_000] * 1_000)) <= MAX_TEXT


def test_deep_contents_are_read_to_a_depth() -> None:
    deep: Any = "bottom"
    for _ in range(100):
        deep = [deep]
    assert text(["top", deep]) == "top"
    with pytest.raises(RequestError, match="deeply"):
        text_of(b"[" * 100_000 + b"]" * 100_000)


@given(st.text())
def test_half_of_a_surrogate_pair_is_replaced(given_text: str) -> None:
    plain = msgspec.json.encode(given_text)[:-1]
    assert value_of(plain + b'\\ud83d"') == given_text + "\ufffd"
    assert value_of(plain + b'\\uDE00"') == given_text + "\ufffd"
    assert value_of(plain + b'\\ud83d\\ude00\\ude00"') == given_text + "\U0001f600\ufffd"
    assert value_of(plain + b'\\\\ud83d\\ud83d"') == given_text + "\\ud83d\ufffd"


@pytest.mark.parametrize(
    "content", [b"", b"{", b'"\xff"', b'"\xed\xa0\xbd"', b"nonsense", b'"\\x"']
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        text_of(content)
    assert caught.value.status == 400


@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(RequestError):
        text_of(content).encode()


# ---- titles


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Fix the login", "Fix the login"),
        ("\n\n  ## Fix   the login\nand more", "Fix the login"),
        ("<system-reminder>\nToday is\n</system-reminder>\nFix it", "Fix it"),
        ("<environment_context><cwd>/src</cwd></environment_context>\n\nFix it", "Fix it"),
        ("<command-name>/init</command-name><command-args a='b'>x</command-args> Do so", "Do so"),
        ("<task>\nFix it\n</task>\n<environment_details>x</environment_details>", "Fix it"),
        ("<user_query>Fix it</user_query>", "Fix it"),
        ("# AGENTS.md instructions for here\n<INSTRUCTIONS>\nobey\n</INSTRUCTIONS>\nFix", "Fix"),
        ("Fix it <system-reminder>not this</system-reminder>", "Fix it"),
        ("Change <b>this</b> to that", "Change <b>this</b> to that"),
        ("<unclosed-tag>\nFix it", "Fix it"),
        ("<system-reminder>only this</system-reminder>", ""),
        ("---\n```\n***\n1\nFix", "Fix"),
        ("日本語で", "日本語で"),
        ("修", "修"),
        ("a\0b\x1bc", "a b c"),
        ("", ""),
    ],
)
def test_a_title_is_the_first_line_that_says_something(given_text: str, expected: str) -> None:
    assert title_of(given_text) == expected


def test_a_long_title_is_cut_at_a_word() -> None:
    assert title_of("word " * 40) == "word " * 14 + "word…"
    assert title_of("x" * 100) == "x" * (TITLE_WIDTH - 1) + "…"
    assert title_of("y" * TITLE_WIDTH) == "y" * TITLE_WIDTH


@given(st.text(alphabet=st.sampled_from("<>/ab-_ \n\"'")))
def test_no_text_makes_a_title_that_is_too_long(given_text: str) -> None:
    title = title_of(given_text * 20)
    assert len(title) <= TITLE_WIDTH
    assert "\n" not in title


@pytest.mark.parametrize("piece", ["<a-b>", "<a-b ", "<a-b>x</c-d>", "<", "<a-b x='", "</a-b>"])
def test_a_text_of_tags_takes_no_time(piece: str) -> None:
    # With a search for each tag's end this would take longer than a test may.
    for _ in range(20):
        title_of(piece * 20_000)


def test_titles_are_ordered_without_regard_to_case_and_marks() -> None:
    titles = ["Zebra", "apple", "Éclair", "Banana", "", "  élan "]
    assert sorted(titles, key=title_key) == ["", "apple", "Banana", "Éclair", "  élan ", "Zebra"]
    assert len(title_key("ß" * 1_000)) <= 200


# ---- words


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Move to OAuth2, now!", ["move", "to", "oauth2", "now"]),
        ("snake_case camelCase a-b a.b", ["snake", "case", "camelcase", "a", "b", "a", "b"]),
        ("Café CAFE\u0301 naïve Ångström", ["cafe", "cafe", "naive", "angstrom"]),
        ("Straße ΣΑΣ ΣΑς İstanbul", ["straße", "σασ", "σασ", "istanbul"]),
        ("Йод ё", ["йод", "ё"]),
        ("日本語 🎉 ½ x²", ["日本語", "½", "x²"]),
        ("a\0b", ["a", "b"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits(given_text: str, expected: list[str]) -> None:
    assert words_of(given_text) == expected


@given(st.text())
def test_words_are_words_of_themselves(given_text: str) -> None:
    words = words_of(given_text)
    assert words_of(" ".join(words)) == words
    assert terms_of(given_text) == list(dict.fromkeys(words))[:MAX_TERMS]


def test_a_search_has_each_word_once_and_a_bounded_number() -> None:
    assert terms_of("b a B ä b") == ["b", "a"]
    assert terms_of(" ".join(f"w{number}" for number in range(99))) == [
        f"w{number}" for number in range(MAX_TERMS)
    ]


def test_words_are_those_of_the_full_text_index() -> None:
    # Letters of scripts in use; each between two letters shows whether it parts them.
    letters = [chr(code) for code in range(1, 0x3000) if chr(code).isalpha() and code < 0x528]
    letters += list("ạỆạ́ﬁ漢字かな한글ภาษา") + [chr(code) for code in range(0x20, 0x7F)]
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE f USING fts5(t, tokenize='unicode61 remove_diacritics 2')"
    )
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(f, 'instance')")
    for number, letter in enumerate(letters):
        connection.execute("INSERT INTO f (rowid, t) VALUES (?, ?)", (number, f"a{letter}b"))
    found: dict[int, list[str]] = {}
    for term, number in connection.execute("SELECT term, doc FROM v ORDER BY doc, offset"):
        found.setdefault(number, []).append(term)
    different = {
        letter for number, letter in enumerate(letters) if words_of(f"a{letter}b") != found[number]
    }
    # Younger than the tables of that tokenizer, or with two marks of which it knows but one.
    assert different <= {"Ǡ", "ǡ", "Ϳ"}
    connection.close()


# ---- snippets


def marked(word: str) -> str:
    return f"{MATCH_START}{word}{MATCH_END}"


def test_a_snippet_shows_the_words_within_their_text() -> None:
    assert (
        snippet("Move the Code, code!", ["code"]) == f"Move the {marked('Code')}, {marked('code')}!"
    )
    assert snippet("nothing of it", ["code"]) is None
    assert snippet("codes decode", ["code"]) is None
    assert snippet("", ["code"]) is None


def test_a_snippet_shows_what_was_written() -> None:
    assert snippet("Le CAFÉ noir", ["cafe"]) == f"Le {marked('CAFÉ')} noir"
    assert (
        snippet("le cafe\u0301 noir", ["cafe", "noir"]) == f"le {marked('café')} {marked('noir')}"
    )
    assert snippet("йод", ["йод"]) == marked("йод")


def test_a_long_text_is_cut_around_the_first_word() -> None:
    long = "before " * 100 + "Needle " + "after " * 100
    found = snippet(long, ["needle"], width=60)
    assert found is not None
    assert found.startswith("…before")
    assert found.endswith("…")
    assert marked("Needle") in found
    assert len(found) <= 60 + 4
    huge = snippet("x" * 5_000 + " y", ["x" * 5_000])
    assert huge == marked("x" * 5_000) + "…"


@given(st.text(), st.text())
def test_every_word_of_a_text_has_a_snippet(before: str, after: str) -> None:
    given_text = text(f"{before} needle {after}")
    found = snippet(given_text, ["needle"])
    assert found is not None
    assert "needle" in words_of(found)
    assert found.count(MATCH_START) == found.count(MATCH_END) >= 1
    assert (snippet(given_text, ["absent"]) is None) == ("absent" not in words_of(given_text))

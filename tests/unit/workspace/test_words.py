"""Words of identifiers, paths and sentences meet."""

from __future__ import annotations

import pytest

from fairlead.workspace.words import STOP_WORDS, asked_words, parts_of, stem


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("parseHTTPHeader_v2", ["pars", "http", "head", "v", "2"]),
        ("snake_case_name", ["snak", "cas", "nam"]),
        ("SCREAMING", ["scream"]),
        ("src/page-cache.py", ["src", "pag", "cach", "py"]),
        ("__init__", ["init"]),
        ("", []),
        ("___", []),
        ("日本語", ["日本語"]),
    ],
)
def test_parts(name: str, parts: list[str]) -> None:
    assert list(parts_of(name)) == parts


@pytest.mark.parametrize(
    "words",
    [
        ["cache", "caches", "cached", "caching"],
        ["parse", "parses", "parsed", "parsing", "parser", "parsers"],
        ["query", "queries", "queried"],
        ["validation", "validations", "validate", "validator", "validating"],
        ["render", "rendering", "renderer"],
        ["map", "maps", "mapped", "mapping"],
    ],
)
def test_forms_of_one_word_have_one_stem(words: list[str]) -> None:
    assert len({stem(word) for word in words}) == 1


@pytest.mark.parametrize("word", ["is", "as", "bed", "ring", "user", "http", "s"])
def test_short_words_stay_long_enough(word: str) -> None:
    assert len(stem(word)) >= min(len(word), 3)


def test_what_is_asked() -> None:
    assert list(asked_words("Fix the caching of `PageStore` in a.py")) == [
        "cach",
        "pag",
        "stor",
        "py",
    ]


def test_stop_words_are_single_words() -> None:
    assert all(list(parts_of(word)) for word in STOP_WORDS)
    assert list(asked_words(" ".join(STOP_WORDS))) == []

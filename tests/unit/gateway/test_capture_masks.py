"""What is masked, what is not, and where."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import ConfigurationError
from fairlead.gateway.capture.base import UnreadableError
from fairlead.gateway.capture.masks import LONGEST, MASKED, WINDOW, Masks
from support.bodies import VALUES

LINES = "\n".join("A1b2" * 16 for _ in range(25))
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{LINES}\n-----END RSA PRIVATE KEY-----"
LONG = "abcdefghij0123456789"
SECRETS = [
    f"sk-{LONG}",
    f"sk-proj-{LONG}_{LONG}",
    f"sk-ant-api03-{LONG}",
    f"ghp_{LONG}{LONG}",
    f"github_pat_{LONG}_{LONG}",
    f"glpat-{LONG}",
    "AKIAIOSFODNN7EXAMPLE",
    f"AIza{LONG}{LONG[:15]}",
    f"xoxb-123456789012-{LONG}",
    f"hf_{LONG}{LONG}",
    f"npm_{LONG}{LONG[:16]}",
    f"sk_live_{LONG}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{LONG}",
    KEY,
    KEY.replace("\n", "\\n"),
    KEY.partition("-----END")[0],
]


TOKEN = "sk-abcdefghij0123456789"


@pytest.mark.parametrize("secret", SECRETS)
def test_common_keys_are_masked(secret: str) -> None:
    masks = Masks(["secrets"])

    assert masks.text(secret) == MASKED
    assert masks.text(f"key={secret}") == f"key={MASKED}"
    assert masks.text(f'"{secret}"').startswith(f'"{MASKED}')


@pytest.mark.parametrize("word", ["Bearer", "bearer"])
def test_bearer_tokens_are_masked(word: str) -> None:
    assert Masks(["secrets"]).text(f"Authorization: {word} {LONG}\nX: 1") == (
        f"Authorization: {MASKED}\nX: 1"
    )


@pytest.mark.parametrize(
    "text",
    [
        "task-management-of-1-something-long-enough",
        "the bearer of this letter",
        "sk-learn and sk-short1",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "AKIA is a prefix, xoxb- as well",
        "sk-nodigits-in-this-one-at-all",
    ],
)
def test_what_only_looks_like_a_key_is_not(text: str) -> None:
    assert Masks(["secrets"]).text(text) == text


@pytest.mark.parametrize(
    "before",
    ["\\n", "\\t", '{\\"key\\": \\"\\n', "\x1b[32m", "\x1b[1;32m", "\x1b[K", "\n", "=", '"'],
)
def test_what_stands_before_a_key_hides_nothing(before: str) -> None:
    masked = Masks(["secrets"]).text(f"keys{before}{TOKEN} end")
    assert masked == f"keys{before}{MASKED} end"


def test_a_field_that_is_named_twice_hides_nothing() -> None:
    content = f'{{"text": "{TOKEN}", "text": "ok"}}'.encode()

    assert Masks(["secrets"]).json(content) == b'{"text":"ok"}'


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJ" + "a" * 20 + ".",
        "-----BEGIN PRIVATE KEY-----",
        "sk-",
        "sk-a-",
        "Bearer ",
        "ghp_",
    ],
)
def test_no_text_holds_up_the_search(piece: str) -> None:
    # Seconds where a pattern begins anew at each piece and reads on to the end.
    Masks(["secrets"]).text(piece * (400_000 // len(piece)))


def test_patterns_of_ones_own_in_their_order() -> None:
    masks = Masks([r"ACME-[0-9]{6}", "secrets", r"(\w+)@\1"])

    assert masks.text(f"ACME-123456 {SECRETS[0]} me@me \\1") == f"{MASKED} {MASKED} {MASKED} \\1"


def test_the_strings_of_a_json_value_are_masked() -> None:
    value = {"a": ["x1", {"b": 'say "x2"', "x3": None}], "n": 1.5, "c": "x1"}

    masked = json.loads(Masks(["x[0-9]"]).json(json.dumps(value).encode()))

    assert masked == {
        "a": [MASKED, {"b": f'say "{MASKED}"', "x3": None}],
        "n": 1.5,
        "c": MASKED,
    }


def test_escapes_hide_nothing() -> None:
    assert Masks(["ab"]).json(b'"\\u0061\\u0062"') == f'"{MASKED}"'.encode()


@given(VALUES)
def test_a_text_without_matches_stays_byte_for_byte(value: Any) -> None:
    content = json.dumps(value, indent=1).encode()

    assert Masks(["never matched by anything"]).json(content) is content
    assert Masks().json(content) is content


@given(VALUES)
def test_what_is_masked_holds_no_match(value: Any) -> None:
    masked = json.loads(Masks(["[0-8a-k]"]).json(json.dumps(value).encode()))

    def check(part: Any) -> None:
        if isinstance(part, str):
            assert not re.search("[0-8a-k]", part.replace(MASKED, ""))
        for inner in (
            part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        ):
            check(inner)

    check(masked)


@pytest.mark.parametrize("place", [0, 1, WINDOW - len(KEY), WINDOW - 9, WINDOW - 1, WINDOW, 99_999])
def test_a_match_across_windows_is_masked(place: int) -> None:
    text = "." * place + KEY + "." * 70_000

    assert Masks(["secrets"]).text(text) == "." * place + MASKED + "." * 70_000


@given(st.integers(0, 3 * WINDOW), st.integers(1, LONGEST))
def test_windows_find_what_one_search_finds(place: int, length: int) -> None:
    text = "." * place + "x" * length + "." * (2 * WINDOW)

    assert Masks(["x+"]).text(text) == re.sub("x+", MASKED, text)


@pytest.mark.parametrize("content", [b"{", b'"\\q"', b"[" * 100_000])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        Masks(["x"]).json(content)


@pytest.mark.parametrize("pattern", ["(", "[a", "*"])
def test_what_is_no_pattern_is_refused_with_its_name(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=r"capture\.mask") as caught:
        Masks(["secrets", pattern])

    assert caught.value.value == pattern

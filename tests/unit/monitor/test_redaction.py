from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.monitor.redaction import MASK, Redactor

SECRET = "gk-Zx81\"q\\ü'7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-abcdef123456 used", "key sk-*** used"),
        ("sk-ant-api03-AAAA_bbbb-cc", "sk-***"),
        ("task-12345678 done", "task-12345678 done"),
        ("Authorization: Bearer abc.DEF-1_2=", "Authorization: ***"),
        ("authorization: Basic dXNlcjpwdw==", "authorization: ***"),
        ("sent bearer abc123 along", "sent bearer *** along"),
        ("x-api-key: 12345", "x-api-key: ***"),
        ('{"X-Api-Key": "12345", "b": 1}', '{"X-Api-Key": "***", "b": 1}'),
        ("[(b'x-api-key', b'12345'), (b'a', b'b')]", "[(b'x-api-key', b'***'), (b'a', b'b')]"),
        ('"{\\"x-api-key\\": \\"12345\\"}"', '"{\\"x-api-key\\": \\"***\\"}"'),
        ("OPENAI_API_KEY=12345 set", "OPENAI_API_KEY=*** set"),
        ("redis://:pa55@host:6379/0", "redis://:***@host:6379/0"),
        ("postgresql://me:p@55@host/db", "postgresql://me:***@host/db"),
        ("http://host:8100/a@b", "http://host:8100/a@b"),
        ("see https://example.org/docs", "see https://example.org/docs"),
        ("the monkey keyed in", "the monkey keyed in"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, expected: str) -> None:
    assert Redactor()(text) == expected


@given(st.text(), st.text())
def test_a_registered_secret_never_gets_through(before: str, after: str) -> None:
    redactor = Redactor()
    redactor.register(SECRET)
    text = before + SECRET + after
    for written in (text, json.dumps(text), json.dumps(text, ensure_ascii=False), repr([text])):
        assert SECRET not in redactor(written)
        assert SECRET[3:7] not in redactor(written)


def test_a_secret_within_another_is_masked_whole() -> None:
    redactor = Redactor()
    redactor.register("abcd")
    redactor.register("abcdefgh")
    assert redactor("<abcdefgh>") == f"<{MASK}>"


def test_a_secret_in_a_url_is_masked() -> None:
    redactor = Redactor()
    redactor.register("a/b+c?d")
    assert redactor("GET /?key2=a%2Fb%2Bc%3Fd") == f"GET /?key2={MASK}"


def test_short_secrets_do_not_eat_words() -> None:
    redactor = Redactor()
    redactor.register("")
    redactor.register("the")
    assert redactor("the node") == "the node"


@given(st.text(alphabet="sk-:/@ bearer=key\\\"',", max_size=300))
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(Redactor()(text), str)

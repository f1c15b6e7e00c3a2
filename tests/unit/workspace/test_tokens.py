"""Counting tokens: exactly, and what is estimated where the vocabulary is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead
from fairlead.workspace.tokens import APPROXIMATE, VOCABULARY, approximate, token_counter

_SOURCES = Path(fairlead.__file__).parent


@pytest.fixture
def forgotten() -> Iterator[None]:
    token_counter.cache_clear()
    yield
    token_counter.cache_clear()


def test_exact_where_the_vocabulary_is_installed() -> None:
    counter = token_counter()

    assert counter.name == VOCABULARY
    # From OpenAI's own examples of o200k_base.
    assert counter.count("hello world") == 2
    assert counter.count("") == 0
    assert counter.count("<|endoftext|>") > 1


def test_approximate_where_it_is_not(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    monkeypatch.setitem(sys.modules, "bpe_openai", None)

    counter = token_counter()

    assert counter.name == APPROXIMATE
    assert counter.count("hello world") == approximate("hello world") == 3


def test_approximate_is_near_and_rather_too_high() -> None:
    exact = token_counter().count
    texts = [path.read_text() for path in sorted(_SOURCES.rglob("*.py"))]
    ratios = sorted(approximate(text) / exact(text) for text in texts if len(text) > 1000)

    assert len(ratios) > 100
    assert 1.0 < sum(ratios) / len(ratios) < 1.1
    assert ratios[len(ratios) // 20] > 0.95
    assert ratios[-1] < 1.25


@pytest.mark.parametrize(
    "text", ["a" * 300, "日本語のテキスト" * 20, "🎉" * 50, "9f8a7c" * 50, "-" * 400, "\n" * 400]
)
def test_approximate_of_odd_texts_is_not_far_too_low(text: str) -> None:
    assert approximate(text) >= 0.9 * token_counter().count(text)


@given(st.text(max_size=200), st.text(max_size=200))
def test_approximate_grows_with_the_text(first: str, second: str) -> None:
    assert approximate(first) >= 0
    assert approximate(f"{first}\n{second}") >= approximate(second) - 1

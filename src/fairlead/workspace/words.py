"""Words of identifiers, paths and sentences, brought to one form so that they meet (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_PLURALS = ("ies", "s")
_ENDINGS = ("ating", "ation", "ated", "ator", "ate", "ing", "ied", "er", "ed")
_LAST = ("e", "y")
_STEM = 3
"""Letters that stay of a word at least."""
_SAYING_NOTHING = (
    "a an and are as at be by can do does for from has have if in into is it its make more no not "
    "now of on only or out so some that the their them then there these this to up use used was we "
    "when where which who will with without you add adds added fix fixes fixed remove removes "
    "removed update updates updated change changes changed improve better new"
)
STOP_WORDS = frozenset(_SAYING_NOTHING.split())
"""Words that say nothing of what a task is about."""


@lru_cache(maxsize=65_536)
def parts_of(name: str) -> tuple[str, ...]:
    """The words within an identifier or a path (`parseHTTPHeader_v2` has four), as stems."""
    return tuple(stem(part.lower()) for part in _PARTS.findall(name))


def stem(word: str) -> str:
    """A word without its endings, so that "cache", "caching" and "cached" are one.

    Plainer than Porter's algorithm (1980): words need not stay readable, only meet.
    """
    # The endings twice, because "rendering" has two of them where "render" has one.
    found = _without(_without(_without(word, _PLURALS), _ENDINGS), _ENDINGS)
    found = _without(found, _LAST)
    # "mapped" is of "map".
    return found[:-1] if len(found) > _STEM and found[-1] == found[-2] else found


def _without(word: str, endings: Sequence[str]) -> str:
    for ending in endings:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word[: -len(ending)]
    return word


def asked_words(text: str) -> Iterator[str]:
    """The words of a sentence that say what it is about, as stems."""
    for part in _PARTS.findall(text):
        word = part.lower()
        if len(word) > 1 and word not in STOP_WORDS:
            yield stem(word)

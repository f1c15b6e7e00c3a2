"""Estimated tokens: a token is four bytes of UTF-8 text, never cut within a character."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

BYTES_PER_TOKEN = 4


def estimate(text: bytes) -> int:
    """How many tokens `text` is said to have: a quarter of its bytes, rounded up."""
    return -(-len(text) // BYTES_PER_TOKEN)


def pieces(text: str) -> Iterator[str]:
    """`text` token by token; joined they are `text` again."""
    if text.isascii():
        for start in range(0, len(text), BYTES_PER_TOKEN):
            yield text[start : start + BYTES_PER_TOKEN]
        return
    begin, size = 0, 0
    for position, character in enumerate(text):
        width = len(character.encode())
        if size and size + width > BYTES_PER_TOKEN:
            yield text[begin:position]
            begin, size = position, 0
        size += width
    yield text[begin:]


def count(text: str) -> int:
    """How many `pieces` there are."""
    if text.isascii():
        return -(-len(text) // BYTES_PER_TOKEN)
    return sum(1 for _ in pieces(text))


def cut(text: str, limit: int) -> str:
    """The first `limit` tokens of `text`."""
    if text.isascii():
        return text[: limit * BYTES_PER_TOKEN]
    return "".join(islice(pieces(text), limit))

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.simulated import tokens, wording

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_pieces_are_the_text_and_counted(text: str) -> None:
    pieces = list(tokens.pieces(text))
    assert "".join(pieces) == text
    assert tokens.count(text) == len([piece for piece in pieces if piece])
    assert all(len(piece.encode()) <= tokens.BYTES_PER_TOKEN for piece in pieces)


@given(TEXT, st.integers(0, 50))
def test_a_cut_is_a_beginning_within_the_limit(text: str, limit: int) -> None:
    part = tokens.cut(text, limit)
    assert text.startswith(part)
    assert tokens.count(part) == min(limit, tokens.count(text))


@given(st.binary(min_size=32, max_size=32), st.integers(1, 3_000))
def test_wording_has_exactly_the_length_asked_for(digest: bytes, length: int) -> None:
    for text in (wording.answer(digest, length), wording.thought(digest, length)):
        assert tokens.count(text) == length
        assert text.startswith("Simulated"[: length * 4 - 1])

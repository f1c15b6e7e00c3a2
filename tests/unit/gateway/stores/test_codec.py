"""Stored answers as bytes: exact both ways, bounded, and never a surprise from damaged ones."""

from __future__ import annotations

import os

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.base import StoredResponse
from fairlead.gateway.stores.codec import pack, unpack

LIMIT = 1024 * 1024
RESPONSES = st.builds(
    StoredResponse,
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5),
    body=st.binary(max_size=5000) | st.binary(max_size=20).map(lambda piece: piece * 500),
    created=st.floats(0, 4e9),
    tokens=st.integers(0, 10**9),
)


def response(body: bytes) -> StoredResponse:
    return StoredResponse(200, [], body, 1.5, 3)


@given(RESPONSES)
def test_what_goes_in_comes_out(stored: StoredResponse) -> None:
    assert unpack(pack(stored), LIMIT) == stored


def test_long_ones_are_compressed_and_short_ones_are_not() -> None:
    assert len(pack(response(b"a" * 100_000))) < 1000
    assert b"a" * 900 in pack(response(b"a" * 900))


def test_what_does_not_get_smaller_is_left_as_it_is() -> None:
    noise = os.urandom(50_000)
    assert noise in pack(response(noise))


@given(st.binary(max_size=200))
def test_garbage_is_no_answer(value: bytes) -> None:
    assert unpack(value, LIMIT) is None or unpack(value, LIMIT) == unpack(value, LIMIT)
    assert unpack(b"\x01" + value, LIMIT) is None


@given(RESPONSES, st.data())
def test_a_value_that_is_cut_short_is_no_answer(
    stored: StoredResponse, data: st.DataObject
) -> None:
    value = pack(stored)
    assert unpack(value[: data.draw(st.integers(0, len(value) - 1))], LIMIT) is None


def test_no_more_is_decoded_than_allowed() -> None:
    bomb = pack(response(bytes(2 * LIMIT)))
    assert len(bomb) < 2000
    assert unpack(bomb, LIMIT) is None
    assert unpack(bomb, 3 * LIMIT) is not None


def test_a_compressed_value_that_does_not_tell_its_size_is_no_answer() -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    assert unpack(b"\x01" + compressor.compress(bytes(10_000)), LIMIT) is None

"""Content codings: what was encoded comes back whole, or there is an error; never a part of it."""

from __future__ import annotations

import contextlib
import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.encoding import SUPPORTED_CODINGS, CodingError, DecodedTooLargeError, decode

LIMIT = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate without its header": raw_deflate,
    "zstd": zstandard.compress,
}


def coding_of(name: str) -> str:
    return name.partition(" ")[0]


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.binary(max_size=2000))
def test_what_was_encoded_comes_back(name: str, data: bytes) -> None:
    assert decode(ENCODERS[name](data), coding_of(name), LIMIT) == data


@pytest.mark.parametrize("name", ENCODERS)
def test_several_steps_come_back_in_order(name: str) -> None:
    data = os.urandom(300_000) + bytes(300_000)

    assert decode(ENCODERS[name](data), coding_of(name), LIMIT) == data


def test_no_coding_is_no_work() -> None:
    body = b"as it is"

    assert decode(body, "", 1) is body
    assert decode(body, "identity", 1) is body


@pytest.mark.parametrize("name", ENCODERS)
def test_the_limit_is_exact(name: str) -> None:
    encoded = ENCODERS[name](b"x" * 1000)

    assert len(decode(encoded, coding_of(name), 1000)) == 1000
    with pytest.raises(DecodedTooLargeError, match="999"):
        decode(encoded, coding_of(name), 999)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_bomb_costs_no_more_than_the_limit(name: str) -> None:
    bomb = ENCODERS[name](bytes(200 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(DecodedTooLargeError):
            decode(bomb, coding_of(name), LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * LIMIT


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("lost", [1, 100, 200_000])
def test_a_body_that_was_cut_short_is_an_error(name: str, lost: int) -> None:
    encoded = ENCODERS[name](os.urandom(300_000))

    with pytest.raises(CodingError):
        decode(encoded[:-lost], coding_of(name), LIMIT)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_empty_body_is_no_encoded_body(name: str) -> None:
    with pytest.raises(CodingError):
        decode(b"", coding_of(name), LIMIT)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_several_members_are_one_body(name: str) -> None:
    """RFC 1952 section 2.2, RFC 8878 section 3: members (frames) follow each other."""
    encoded = ENCODERS[name](b'{"model": ') + ENCODERS[name](b'"m"}')

    assert decode(encoded, name, LIMIT) == b'{"model": "m"}'
    with pytest.raises(DecodedTooLargeError):
        decode(encoded, name, 12)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_follows_the_end_is_an_error(name: str) -> None:
    """Another reader of the same bytes might not stop where we do."""
    with pytest.raises(CodingError):
        decode(ENCODERS[name](b"{}") + b"and more", coding_of(name), LIMIT)


@pytest.mark.parametrize("coding", SUPPORTED_CODINGS)
@given(data=st.binary(max_size=200))
def test_garbage_is_a_clear_error_or_data_never_something_else(coding: str, data: bytes) -> None:
    with contextlib.suppress(CodingError):  # the one error there is for garbage
        decode(data, coding, LIMIT)


def test_an_unknown_coding_names_the_known_ones() -> None:
    with pytest.raises(CodingError, match="'br'; known: gzip, deflate, zstd"):
        decode(b"x", "br", LIMIT)


def test_a_window_beyond_8_mib_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    encoded = packed.compress(bytes(1000)) + packed.flush()

    with pytest.raises(CodingError):
        decode(encoded, "zstd", LIMIT)

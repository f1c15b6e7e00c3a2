"""Events as bytes: short ones plain, long ones compressed, damaged ones refused."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations import codec
from fairlead.conversations.codec import COMPRESS_FROM, decode_change, decode_content, encode
from fairlead.conversations.records import Branched, Change, Created, Deleted, Said, ThreadEvent
from fairlead.errors import StorageError


def event(change: Change, content: bytes | None = None) -> ThreadEvent:
    return ThreadEvent("team", "thread", "local", 1, "id", 1, change, content)


@pytest.mark.parametrize(
    "change",
    [
        Created("ann", "title", "blue", "session"),
        Said("user", 5, {"model": "m", "usage": {"output_tokens": 7}}, 2, "0" * 32, "first"),
        Branched(1, ((1, 4), (7, 7))),
        Deleted(),
    ],
)
def test_changes_come_back(change: Change) -> None:
    data, content = encode(event(change))

    assert decode_change(data) == change
    assert content is None


@given(st.binary(max_size=3 * COMPRESS_FROM))
def test_contents_come_back_byte_for_byte(content: bytes) -> None:
    _, stored = encode(event(Said("user", 1), content))

    assert stored is not None
    assert decode_content(stored) == content


def test_what_is_short_can_be_read_by_anybody() -> None:
    data, content = encode(event(Said("user", 1, {"a": 1}), b'"hello"'))

    assert content == b'\0"hello"'
    assert json.loads(data[1:])["metadata"] == {"a": 1}


def test_what_is_long_is_compressed() -> None:
    short, long = [encode(event(Said("user", 1), b"x" * size))[1] for size in (1024, 1025)]

    assert short is not None
    assert long is not None
    assert short[0] == 0
    assert long[0] == 1
    assert len(long) < 100
    assert zstandard.ZstdDecompressor().decompress(long[1:]) == b"x" * 1025


def test_what_would_be_longer_compressed_stays_as_it_is() -> None:
    noise = random.Random(1).randbytes(2_000)  # noqa: S311 - any noise will do

    assert codec.pack(noise) == b"\0" + noise


@pytest.mark.parametrize(
    "data", [b"", b"\2{}", b"\0{", b'\0{"kind": "unheard of"}', b"\1not zstd", b"\1"]
)
def test_damage_is_an_error_of_the_store(data: bytes) -> None:
    with pytest.raises(StorageError):
        decode_change(data)


def test_a_value_that_claims_to_be_huge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_DECODED", 1_000_000)
    bomb = b"\1" + zstandard.ZstdCompressor().compress(bytes(2_000_000))

    with pytest.raises(StorageError, match="too large"):
        decode_content(bomb)


def test_fields_that_a_newer_node_has_added_do_no_harm() -> None:
    data = b"\0" + msgspec.json.encode({"kind": "deleted", "because": "of a whim"})

    assert decode_change(data) == Deleted()

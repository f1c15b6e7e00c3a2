"""How events are written down: JSON, compressed where it is long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import zstandard

from fairlead.conversations.records import Change, Edited, Said, ThreadEvent
from fairlead.errors import StorageError

COMPRESS_FROM = 1024
"""Bytes above which a value is compressed (zstd, RFC 8878)."""
MAX_DECODED = 128 * 1024 * 1024
"""Bytes that a value may have when it is decompressed."""

_PLAIN, _ZSTD = b"\x00", b"\x01"
_encode = msgspec.json.Encoder().encode
_decode: msgspec.json.Decoder[Change] = msgspec.json.Decoder(Change)


def encode(event: ThreadEvent) -> tuple[bytes, bytes | None]:
    """What a store keeps of `event`: change and content, each behind a byte for its coding."""
    content = None if event.content is None else pack(event.content)
    return pack(_encode(event.change)), content


def decode_change(data: bytes) -> Change:
    """The change that was encoded; raises `StorageError` where it cannot be read."""
    try:
        return _decode.decode(unpack(data))
    except msgspec.MsgspecError as error:
        raise StorageError(f"an event of the log cannot be read: {error}") from error


def metadata_of(data: bytes) -> Mapping[str, Any]:
    """The metadata of the message that an encoded change says; errors: `decode_change`."""
    change = decode_change(data)
    return change.metadata if isinstance(change, Said | Edited) else {}


def decode_content(data: bytes) -> bytes:
    """The JSON text of a content that was encoded; raises `StorageError` as `decode_change`."""
    return unpack(data)


def pack(data: bytes) -> bytes:
    """`data` behind a byte that tells its coding."""
    if len(data) > COMPRESS_FROM:
        packed = zstandard.ZstdCompressor(level=3).compress(data)
        if len(packed) < len(data):
            return _ZSTD + packed
    return _PLAIN + data


def unpack(data: bytes) -> bytes:
    """What `pack` was given; raises `StorageError` where it cannot be had."""
    coding, body = data[:1], data[1:]
    if coding == _PLAIN:
        return body
    if coding != _ZSTD:
        raise StorageError(f"a stored value has the unknown coding {coding!r}")
    try:
        # The declared size is allocated before anything is decoded: so it is looked at first.
        if not 0 < zstandard.frame_content_size(body) <= MAX_DECODED:
            raise StorageError("a stored value is too large, or of unknown size")
        return zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as error:
        raise StorageError(f"a stored value cannot be decompressed: {error}") from error

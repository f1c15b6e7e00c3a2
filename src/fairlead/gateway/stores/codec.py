"""Stored answers as bytes: MessagePack, zstd-compressed where that is smaller."""

from __future__ import annotations

import msgspec
import zstandard

from fairlead.gateway.base import StoredResponse

_COMPRESS_OVER = 1024
_PLAIN, _ZSTD = b"\x00", b"\x01"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredResponse)


def pack(response: StoredResponse) -> bytes:
    """One byte that tells the form, then the answer."""
    plain = _encoder.encode(response)
    if len(plain) > _COMPRESS_OVER:
        packed = zstandard.ZstdCompressor(level=3).compress(plain)
        if len(packed) < len(plain):
            return _ZSTD + packed
    return _PLAIN + plain


def unpack(value: bytes, limit: int) -> StoredResponse | None:
    """The answer; None where `value` is damaged or would be over `limit` bytes."""
    form, rest = value[:1], value[1:]
    try:
        if form == _ZSTD:
            # The declared size is allocated before anything is decoded: so it is looked at first.
            if not 0 < zstandard.frame_content_size(rest) <= limit:
                return None
            rest = zstandard.ZstdDecompressor().decompress(rest)
        elif form != _PLAIN:
            return None
        return _decoder.decode(rest)
    except (zstandard.ZstdError, msgspec.MsgspecError):
        return None

"""Answers in a content coding, also those that broke off."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import brotli
import zstandard

from fairlead.core.encoding import CodingError, pieces

_STEP = 65_536


def decode_beginning(body: bytes, coding: str, limit: int) -> tuple[bytes, bool]:
    """As much of `body` as can be decoded, at most about `limit` bytes; True where that is all.

    `coding` is one of `encoding.SUPPORTED_CODINGS`, `br` (RFC 7932), `identity` or empty; of any
    other nothing can. Clients ask for brotli, and what they ask for passes as it is.
    """
    if coding in {"", "identity"}:
        return body, True
    decoded: list[bytes] = []
    size = 0
    try:
        for piece in _unbrotli(body) if coding == "br" else pieces(body, coding):
            decoded.append(piece)
            size += len(piece)
            if size > limit:
                return b"".join(decoded), False
    except (zlib.error, zstandard.ZstdError, brotli.error, CodingError):
        return b"".join(decoded), False
    return b"".join(decoded), True


def _unbrotli(body: bytes) -> Iterator[bytes]:
    decompressor = brotli.Decompressor()
    piece = decompressor.process(body, output_buffer_limit=_STEP)
    while piece:
        yield piece
        if decompressor.is_finished():
            return
        piece = decompressor.process(b"", output_buffer_limit=_STEP)
    if not decompressor.is_finished():
        raise CodingError("the compressed body is cut short")

"""Answers in a content coding, also those that broke off."""

from __future__ import annotations

import zlib

import zstandard

from fairlead.core.encoding import CodingError, _pieces


def decode_beginning(body: bytes, coding: str, limit: int) -> tuple[bytes, bool]:
    """As much of `body` as can be decoded, at most about `limit` bytes; True where that is all.

    `coding` is one of `encoding.SUPPORTED_CODINGS`, `identity` or empty; of any other nothing can.
    """
    if coding in {"", "identity"}:
        return body, True
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in _pieces(body, coding):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                return b"".join(pieces), False
    except (zlib.error, zstandard.ZstdError, CodingError):
        return b"".join(pieces), False
    return b"".join(pieces), True

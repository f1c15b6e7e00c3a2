"""Content codings of HTTP bodies, decoded in steps under a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from fairlead.errors import FairleadError

SUPPORTED_CODINGS = ("gzip", "deflate", "zstd")
_STEP = 65_536


class DecodedTooLargeError(FairleadError):
    """The decoded body is larger than allowed."""


class CodingError(FairleadError):
    """The body is not valid in its declared coding."""


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """`body` decoded from `coding` (RFC 9110 section 8.4.1), at most `limit` bytes.

    `coding` is one of `SUPPORTED_CODINGS`, `identity` or empty. Decoding goes in steps of 64 KiB,
    so a bomb costs no more than `limit`. Raises `DecodedTooLargeError`, `CodingError`.
    """
    if coding in {"", "identity"}:
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in _pieces(body, coding):
            size += len(piece)
            if size > limit:
                raise DecodedTooLargeError(f"the decoded body is larger than {limit} bytes")
            pieces.append(piece)
    except (zlib.error, zstandard.ZstdError) as error:
        raise CodingError(f"the body is not valid {coding}: {error}") from error
    return b"".join(pieces)


def _pieces(body: bytes, coding: str) -> Iterator[bytes]:
    if coding in {"gzip", "x-gzip"}:
        return _inflate(body, 31)
    if coding == "deflate":
        # RFC 9110 means zlib's format; some senders leave its header away.
        wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _inflate(body, 15 if wrapped else -15)
    if coding == "zstd":
        return _unzstd(body)
    supported = ", ".join(SUPPORTED_CODINGS)
    raise CodingError(f"unknown content coding {coding!r}; known: {supported}")


def _inflate(body: bytes, window_bits: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(window_bits)
    pending = body
    while not inflater.eof:
        piece = inflater.decompress(pending, _STEP)
        pending = inflater.unconsumed_tail
        if not piece and not pending and not inflater.eof:
            raise CodingError("the compressed body is cut short")
        yield piece


def _unzstd(body: bytes) -> Iterator[bytes]:
    # A window of 8 MiB is what RFC 8878 asks decoders to support; more would be memory on demand.
    decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
    with decompressor.stream_reader(body) as reader:
        while piece := reader.read(_STEP):
            yield piece

"""Content codings of HTTP bodies, decoded in steps under a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator

import zstandard

from fairlead.errors import FairleadError

SUPPORTED_CODINGS = ("gzip", "deflate", "zstd")
_STEP = 65_536
_ZSTD_STEP = 256
"""Input at a time: a few bytes may stand for a block of 128 KiB, so this bounds a step's output."""


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
    decoded: list[bytes] = []
    size = 0
    try:
        for piece in pieces(body, coding):
            size += len(piece)
            if size > limit:
                raise DecodedTooLargeError(f"the decoded body is larger than {limit} bytes")
            decoded.append(piece)
    except (zlib.error, zstandard.ZstdError) as error:
        raise CodingError(f"the body is not valid {coding}: {error}") from error
    return b"".join(decoded)


def pieces(body: bytes, coding: str) -> Iterator[bytes]:
    """`body` decoded from one of `SUPPORTED_CODINGS`, about 64 KiB at a time.

    Raises `CodingError`, `zlib.error` or `zstandard.ZstdError` after what could be decoded.
    """
    if coding in {"gzip", "x-gzip"}:
        return _members(body, lambda rest: _inflate(rest, 31))
    if coding == "deflate":
        # RFC 9110 means zlib's format; some senders leave its header away.
        wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _single(body, lambda rest: _inflate(rest, 15 if wrapped else -15))
    if coding == "zstd":
        return _members(body, _unzstd)
    supported = ", ".join(SUPPORTED_CODINGS)
    raise CodingError(f"unknown content coding {coding!r}; known: {supported}")


Decoder = Callable[[bytes], Generator[bytes, None, bytes]]
"""Yields decoded pieces of one member; returns what follows it."""


def _members(body: bytes, decoder: Decoder) -> Iterator[bytes]:
    """Members (gzip, RFC 1952) or frames (zstd, RFC 8878) one after the other."""
    rest = yield from decoder(body)
    while rest:
        rest = yield from decoder(rest)


def _single(body: bytes, decoder: Decoder) -> Iterator[bytes]:
    rest = yield from decoder(body)
    if rest:
        # Another reader of the same bytes might not stop where this one does.
        raise CodingError("something follows the compressed body")


def _inflate(body: bytes, window_bits: int) -> Generator[bytes, None, bytes]:
    inflater = zlib.decompressobj(window_bits)
    pending = body
    while not inflater.eof:
        piece = inflater.decompress(pending, _STEP)
        pending = inflater.unconsumed_tail
        if not piece and not pending and not inflater.eof:
            raise CodingError("the compressed body is cut short")
        yield piece
    return inflater.unused_data


def _unzstd(body: bytes) -> Generator[bytes, None, bytes]:
    # A window of 8 MiB is what RFC 8878 asks decoders to support; more would be memory on demand.
    decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).decompressobj()
    for start in range(0, len(body), _ZSTD_STEP):
        yield decompressor.decompress(body[start : start + _ZSTD_STEP])
        if decompressor.eof:
            return decompressor.unused_data + body[start + _ZSTD_STEP :]
    raise CodingError("the compressed body is cut short")

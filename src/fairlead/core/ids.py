"""Identifiers that sort by time (UUIDv7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import random
import time
import uuid


def uuid7(now_ms: int | None = None) -> uuid.UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    bits = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (bits >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | (bits & 0x3FFF_FFFF_FFFF_FFFF)
    return uuid.UUID(int=value)


# Seeded from the operating system once: a system call per request would cost more than the rest.
_random_bits = random.Random(os.urandom(16)).getrandbits  # noqa: S311 - names a request, guards nothing


def request_id() -> str:
    """An id for one request: 32 hexadecimal digits that sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{_random_bits(80):020x}"

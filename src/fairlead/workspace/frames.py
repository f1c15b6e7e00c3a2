"""What the node and its worker processes say to each other: values behind their lengths (pure)."""

from __future__ import annotations

import struct

import msgspec

from fairlead.workspace.base import FileAnalysis

MAX_FRAME = 64 * 1024 * 1024
"""Bytes; a longer one is none of ours."""
HEAD = struct.Struct(">I")
"""What each frame begins with: the number of bytes that follow."""

encode = msgspec.msgpack.Encoder().encode
decode_file = msgspec.msgpack.Decoder(tuple[str, bytes]).decode
"""A path and its content: what a worker is told."""
decode_analysis = msgspec.msgpack.Decoder(FileAnalysis).decode
"""What it answers."""


def frame(value: object) -> bytes:
    """The value as MessagePack behind its length."""
    data = encode(value)
    return HEAD.pack(len(data)) + data

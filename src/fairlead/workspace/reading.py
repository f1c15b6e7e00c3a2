"""Reading a file whole, and knowing whether what was read is what was there at one moment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from fairlead.errors import RequestError
from fairlead.workspace.base import Content, Stamp
from fairlead.workspace.failures import translated
from fairlead.workspace.paths import Root
from fairlead.workspace.stamps import stamp_of
from fairlead.workspace.walking import Trail

_ATTEMPTS = 4
"""How often a file that is being written is read before it is answered as it is."""
_PIECE = 1024 * 1024


class Reading(NamedTuple):
    """A file as it was read."""

    content: Content
    trail: Trail
    is_settled: bool
    """Its stamp was the same before and after: the content is that of the stamp, unless somebody
    wrote within the grain of the file system's clock."""


def read_file(root: Root, parts: Sequence[str], max_bytes: int) -> Reading:
    """The file's content; blocks.

    Raises what `Root.find_file` does, and `RequestError` 413 for more than `max_bytes`.
    """
    path = "/".join(parts)
    handle, trail = root.find_file(parts)
    try:
        with translated(path):
            content, is_settled = read_handle(handle, path, max_bytes)
    finally:
        os.close(handle)
    return Reading(content, trail, is_settled)


def read_handle(handle: int, path: str, max_bytes: int) -> tuple[Content, bool]:
    """The content of an open file and whether it is settled; raises `RequestError`, `OSError`."""
    after = stamp_of(os.fstat(handle))
    for _ in range(_ATTEMPTS):
        before = after
        data = _read_all(handle, path, before.size, max_bytes)
        after = stamp_of(os.fstat(handle))
        if before == after and len(data) == after.size:
            return content_of(path, data, after), True
    # Somebody writes all the time, as into a log: what there was last is true enough to show, and
    # not to be kept.
    return content_of(path, data, after), False


def content_of(path: str, data: bytes, stamp: Stamp) -> Content:
    """The content with its digest."""
    return Content(path=path, data=data, stamp=stamp, digest=digest_of(data))


def digest_of(data: bytes) -> str:
    """The first 32 hex digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


def _read_all(handle: int, path: str, size: int, max_bytes: int) -> bytes:
    """As much as the file's size, and a byte more where it has grown; all of it where the size is
    not told, as in /proc."""
    if size > max_bytes:
        raise _too_large(path, max_bytes)
    enough = (size or max_bytes) + 1
    pieces: list[bytes] = []
    read = 0
    while piece := os.pread(handle, min(enough - read, max(size + 1, _PIECE)), read):
        pieces.append(piece)
        read += len(piece)
    if read > max_bytes:
        raise _too_large(path, max_bytes)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(path: str, max_bytes: int) -> RequestError:
    message = f"{path!r} has more than {max_bytes} bytes, the most that is read"
    return RequestError(413, message, param="path", code="size")

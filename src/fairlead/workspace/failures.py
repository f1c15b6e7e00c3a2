"""What the operating system refuses, in the words of our own errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fairlead.errors import (
    FairleadError,
    ForbiddenError,
    NotFoundError,
    RequestError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

_MISSING = (errno.ENOENT, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_AWAY = (errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENODEV)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn an `OSError` into the error of ours that says what it means for `path`."""
    try:
        yield
    except OSError as error:
        raise failure(path, error) from error


def failure(path: str, error: OSError) -> FairleadError:
    """The error of ours for what the operating system says about `path`."""
    if error.errno in _MISSING:
        return NotFoundError("file", path)
    if error.errno in (errno.EACCES, errno.EPERM):
        return ForbiddenError(f"{path!r}: the node's user has no permission")
    if error.errno == errno.EROFS:
        return ForbiddenError(f"{path!r}: the file system is read-only")
    if error.errno == errno.EISDIR:
        return RequestError(409, f"{path!r} is a directory", param="path", code="kind")
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
        return RequestError(400, f"{path!r} is no name for a file here", param="path", code="path")
    if error.errno in _FULL:
        return StorageFullError(f"{path!r}: there is no room left on the disk: nothing was written")
    said = os.strerror(error.errno or 0)
    if error.errno in _AWAY:
        return StorageUnavailableError(f"{path!r} cannot be reached now: {said}")
    return StorageError(f"{path!r}: {said}")

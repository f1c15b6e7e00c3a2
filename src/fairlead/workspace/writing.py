"""Replacing a file as a whole: either all of the new content is there afterwards, or the old one.

Everything here blocks. Writers of one directory take turns by a lock on its handle (flock(2)),
which holds among threads and processes; on file systems that know no such lock (some network ones)
only those of one process do, because a process writes in one thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from fairlead.errors import ForbiddenError, NotFoundError, RequestError, StorageUnavailableError
from fairlead.workspace.base import Stamp
from fairlead.workspace.failures import translated
from fairlead.workspace.paths import Root, check_regular
from fairlead.workspace.reading import Reading, content_of, read_handle
from fairlead.workspace.stamps import stamp_of
from fairlead.workspace.walking import Place, SwappedError

LOCK_TRIES, LOCK_STEP = 1000, 0.005
"""How often, and every how many seconds, a writer asks for its turn."""
NEW_MODE = 0o644
"""Of a new file, without what the umask takes away."""

_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
_PARENT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Condition(msgspec.Struct, frozen=True):
    """What must hold for a write (RFC 9110 section 13.1)."""

    if_match: str | None = None
    """The entity tag that the file must have, or `*`: it must be there."""
    if_none_match: bool = False
    """It must not be there (`If-None-Match: *`)."""


def write_file(
    root: Root, parts: Sequence[str], data: bytes, condition: Condition, max_bytes: int
) -> Reading:
    """Make `data` the content of the file and return it as it is now.

    Directories on the way are made. A symlink's target is written, where it lies beneath the root.
    The mode stays; other hard links keep the old content. Raises `RequestError` 412 where the
    condition does not hold, 409 where a directory is in the way or everything is replaced all the
    time, 413 over `max_bytes`; `ForbiddenError` for what leads out, into `.git` or must not be
    written; `StorageFullError`, `StorageUnavailableError`, `StorageError`.
    """
    path = "/".join(parts)
    if not parts:
        raise RequestError(409, "the path is the workspace itself", param="path", code="kind")
    if len(data) > max_bytes:
        message = f"{len(data)} bytes are more than a file may have ({max_bytes})"
        raise RequestError(413, message, code="size")
    make = condition.if_match is None
    try:
        with translated(path), root.place(parts, make=make, check=_check_name) as place:
            return _write(place, path, data, condition, max_bytes)
    except NotFoundError:
        if make:
            raise
        raise _conflict(path, condition) from None
    except SwappedError as error:
        raise RequestError(409, f"{path!r} is being replaced: try again", code="busy") from error


def _write(place: Place, path: str, data: bytes, condition: Condition, max_bytes: int) -> Reading:
    if place.status is not None:
        check_regular(place.status, path.split("/"))
    parent = os.open(".", _PARENT, dir_fd=place.handle)
    try:
        with _turn(parent, path):
            write = _Replacement(parent, place.name, path, condition, max_bytes)
            stamp = write.replace(data)
    finally:
        os.close(parent)
    return Reading(content_of(path, data, stamp), place.trail, is_settled=True)


class _Replacement:
    """One write of one name, within its directory's turn."""

    def __init__(
        self, parent: int, name: str, path: str, condition: Condition, max_bytes: int
    ) -> None:
        """`parent` is the directory's handle; `path` is what the caller calls the file."""
        self._parent, self._name, self._path = parent, name, path
        self._condition = condition
        self._max_bytes = max_bytes

    def check(self) -> os.stat_result | None:
        """What is there now, None for nothing; raises unless the condition holds."""
        try:
            handle = os.open(self._name, _OLD, dir_fd=self._parent)
        except FileNotFoundError:
            if self._condition.if_match is not None:
                raise _conflict(self._path, self._condition) from None
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a symlink was put there after the walk
                raise SwappedError from error
            raise
        try:
            self._check_there(handle)
            return os.fstat(handle)
        finally:
            os.close(handle)

    def replace(self, data: bytes) -> Stamp:
        """Put `data` in the name's place and on the disk; the new file's stamp."""
        old = self.check()
        temporary = f".fairlead-{secrets.token_hex(8)}.tmp"
        # The kernel takes the umask from a new file's mode; nobody else can read one that will
        # get the mode of its predecessor before it has it.
        mode = NEW_MODE if old is None else 0o600
        handle = os.open(temporary, _NEW, mode, dir_fd=self._parent)
        try:
            _fill(handle, data)
            if old is not None:
                _be_like(handle, old)
            os.fsync(handle)
            self.check()  # again, because the disk has taken its time
            self._put_in_place(temporary)
            os.fsync(self._parent)
            return stamp_of(os.fstat(handle))
        finally:
            os.close(handle)
            with suppress(FileNotFoundError):  # where all went well, it has got its name
                os.unlink(temporary, dir_fd=self._parent)

    def _check_there(self, handle: int) -> None:
        check_regular(os.fstat(handle), self._path.split("/"))
        # Renaming asks for no permission of the file that it replaces.
        if not os.access(self._name, os.W_OK, dir_fd=self._parent, effective_ids=True):
            raise ForbiddenError(f"{self._path!r} is read-only")
        if self._condition.if_none_match:
            raise _conflict(self._path, self._condition)
        if self._condition.if_match not in {None, "*"}:
            content, _ = read_handle(handle, self._path, self._max_bytes)
            if content.etag != self._condition.if_match:
                raise _conflict(self._path, self._condition)

    def _put_in_place(self, temporary: str) -> None:
        if self._condition.if_none_match and self._linked(temporary):
            return
        os.replace(temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)

    def _linked(self, temporary: str) -> bool:
        """Whether it has got its name by a link, which no file can be lost by; False: no links."""
        at = {"src_dir_fd": self._parent, "dst_dir_fd": self._parent}
        try:
            os.link(temporary, self._name, follow_symlinks=False, **at)
        except FileExistsError:
            raise _conflict(self._path, self._condition) from None
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        os.unlink(temporary, dir_fd=self._parent)
        return True


def _conflict(path: str, condition: Condition) -> RequestError:
    if condition.if_none_match:
        said = f"{path!r} is there already"
    else:
        said = f"{path!r} is not what the caller read: read it again, then change it"
    return RequestError(412, said, code="conflict")


def _fill(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _be_like(handle: int, old: os.stat_result) -> None:
    """Give a file the owner, where that is allowed, and the permissions of another."""
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):  # then it belongs to the node's user, as any copy would
            os.fchown(handle, old.st_uid, old.st_gid)
    # Without set-id bits, which the kernel takes away at a write as well.
    os.fchmod(handle, old.st_mode & 0o777)


@contextmanager
def _turn(parent: int, path: str) -> Iterator[None]:
    """Be the only one who writes in the directory; closing its handle ends the turn as well."""
    for _ in range(LOCK_TRIES):
        if _locked(parent):
            break
        time.sleep(LOCK_STEP)
    else:
        raise StorageUnavailableError(f"{path!r}: others write there all the time")
    try:
        yield
    finally:
        with suppress(OSError):  # where there are no locks there is none to give back
            fcntl.flock(parent, fcntl.LOCK_UN)


def _locked(parent: int) -> bool:
    try:
        fcntl.flock(parent, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _check_name(name: str) -> None:
    # In any case, and as file systems that drop trailing dots and spaces read it.
    if name.rstrip(". ").casefold() == ".git":
        raise ForbiddenError("what lies in .git is git's own: it is not written here")

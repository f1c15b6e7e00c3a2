"""A disk that can lose its power: an SQLite VFS that records, and what each moment would leave.

`RecordingVfs` passes everything to the real files and notes each write, truncation, sync, deletion
and acknowledgment in the order in which they began. `power_cuts` plays that trace on a model of
what POSIX promises of a disk: a file's changes are safe once the file was synced, its name (that it
is there, or gone) once its directory was; whatever came after may be lost, or survive in part. The
shared memory of WAL mode is no file of this disk: it does not outlive the machine's memory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""
_SYNC_DIRECTORY = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
"""Types of files of which SQLite syncs the directory at their first sync (os_unix.c, DIRSYNC)."""


@dataclass(frozen=True)
class Opened:
    """A file was opened, and made where it was not there."""

    file: str


@dataclass(frozen=True)
class Wrote:
    """Bytes went to a file."""

    file: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Cut:
    """A file was cut or grown to `size` bytes."""

    file: str
    size: int


@dataclass(frozen=True)
class Synced:
    """A file's changes became safe; with `names`, so did the directory's."""

    file: str
    names: bool


@dataclass(frozen=True)
class Dropped:
    """A file was deleted; with `names`, for good."""

    file: str
    names: bool


@dataclass(frozen=True)
class Acknowledged:
    """The caller was told that its operation of this number is durable."""

    number: int


Step = Opened | Wrote | Cut | Synced | Dropped | Acknowledged


class RecordingVfs(apsw.VFS):  # type: ignore[misc] # apsw has no types that mypy can see
    """Everything that happens to the files beneath the default VFS, as a list of steps."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trace: list[Step] = []
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _RecordingFile:  # noqa: N802 - SQLite's name
        """Open a file of which everything is recorded."""
        return _RecordingFile(self.trace, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Delete a file."""
        self.trace.append(Dropped(Path(filename).name, syncdir))
        super().xDelete(filename, syncdir)

    def acknowledge(self, number: int) -> None:
        """Note that an operation has been acknowledged."""
        self.trace.append(Acknowledged(number))


class _RecordingFile(apsw.VFSFile):  # type: ignore[misc] # apsw has no types that mypy can see
    def __init__(self, trace: list[Step], name: Any, flags: list[int]) -> None:
        self._trace = trace
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        # Files without a name are temporary: nothing of them is ever read again.
        self._file = None if path is None else Path(path).name
        self._names = bool(flags[0] & _SYNC_DIRECTORY)
        if self._file is not None:
            trace.append(Opened(self._file))
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if self._file is not None:
            self._trace.append(Wrote(self._file, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        if self._file is not None:
            self._trace.append(Cut(self._file, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._file is not None:
            self._trace.append(Synced(self._file, self._names))
        super().xSync(flags)


@contextmanager
def recording(name: str) -> Iterator[RecordingVfs]:
    """A VFS registered under `name` within the block."""
    vfs = RecordingVfs(name)
    try:
        yield vfs
    finally:
        vfs.unregister()


class _File:
    """What of a file is safe, and what has been done to it since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[Wrote | Cut] = []

    def sync(self) -> None:
        for change in self.pending:
            _change(self.safe, change)
        self.pending.clear()

    def after_cut(self, chance: random.Random | None) -> bytes:
        """With `chance`, each pending sector and truncation survives or not, as it falls."""
        left = bytearray(self.safe)
        for change in self.pending if chance is not None else ():
            for part in _sectors(change):
                if chance is not None and chance.random() < 0.5:
                    _change(left, part)
        return bytes(left)


def _change(content: bytearray, change: Wrote | Cut) -> None:
    size = change.size if isinstance(change, Cut) else change.offset + len(change.data)
    if size > len(content):
        content.extend(bytes(size - len(content)))
    if isinstance(change, Cut):
        del content[size:]
    else:
        content[change.offset : size] = change.data


def _sectors(change: Wrote | Cut) -> Iterator[Wrote | Cut]:
    if isinstance(change, Cut):
        yield change
        return
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Wrote(change.file, start, change.data[start - change.offset : stop - change.offset])
        start = stop


@dataclass
class Disk:
    """The machine at one moment: its files, what of them is safe, and what it had promised."""

    acknowledged: int = 0
    """How many operations."""
    syncs: int = 0
    _files: dict[str, _File] = field(default_factory=dict)
    _safe_names: dict[str, _File] = field(default_factory=dict)

    def step(self, step: Step) -> None:
        """What this step changes."""
        match step:
            case Opened(file):
                self._files.setdefault(file, _File())
            case Wrote(file) | Cut(file):
                self._files[file].pending.append(step)
            case Synced(file, names):
                self.syncs += 1
                self._files[file].sync()
                if names and self._safe_names.get(file) is not self._files[file]:
                    self._safe_names = dict(self._files)
            case Dropped(file, names):
                self._files.pop(file, None)
                if names:
                    self._safe_names = dict(self._files)
            case Acknowledged(number):
                self.acknowledged = number

    def cut(self, folder: Path, chance: random.Random | None = None) -> None:
        """Write into `folder`, which is made here, what a power cut leaves.

        With `chance`, some of what was not safe has survived.
        """
        folder.mkdir()
        for name, file in self._safe_names.items():
            (folder / name).write_bytes(file.after_cut(chance))


def power_cuts(trace: Sequence[Step]) -> Iterator[Disk]:
    """The disk just before each sync, when the most is at stake, and at the end of the trace.

    It is the same object each time, moved on.
    """
    disk = Disk()
    for step in trace:
        if isinstance(step, Synced):
            yield disk
        disk.step(step)
    yield disk

"""Checks of the machine itself: program versions, limits, the data directory and what is in it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
from pathlib import Path

import apsw

from fairlead.cli.checks import Check, failed, passed, warned
from fairlead.core.clock import Clock
from fairlead.settings import Settings
from fairlead.settings.values import GiB, MiB

SQLITE_NEEDED = (3, 51, 3)
"""Older libraries can lose commits in WAL mode with two connections."""
CHECK_SECONDS = 5.0
"""How long the cache file may take to be looked through."""
_STEPS_BETWEEN_LOOKS = 50_000
_BASE_FILES = 128


def versions() -> list[Check]:
    """The interpreter, and the SQLite that comes with apsw."""
    return [passed("Python", platform.python_version()), sqlite(apsw.sqlite_lib_version())]


def sqlite(version: str) -> Check:
    """Whether a SQLite of this version is safe to use."""
    if tuple(int(part) for part in version.split(".")[:3]) >= SQLITE_NEEDED:
        return passed("SQLite", version)
    needed = ".".join(map(str, SQLITE_NEEDED))
    return failed("SQLite", f"{version} is older than {needed}", "pip install --upgrade apsw")


def open_files(settings: Settings) -> Check:
    """Whether the limit of open files leaves room for the connections that are configured."""
    upstream = sum(upstream.max_connections for upstream in settings.upstreams)
    # A connection in use has a client's connection on its other side.
    needed = 2 * upstream + _BASE_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        limit = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
        return passed("open files", f"{limit} allowed, {needed} needed for all connections")
    return warned(
        "open files",
        f"{soft} allowed, {needed} needed when all {upstream} upstream connections are in use",
        f"`ulimit -n {needed}` before the start, or LimitNOFILE={needed} in the systemd unit",
    )


def data_dir(settings: Settings) -> list[Check]:
    """Whether the data directory can be used or made, and what room is left there."""
    path = settings.server.data_dir
    name = "data directory"
    fix = "choose another with server.data_dir or --data-dir, or correct its permissions"
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir():
        return [failed(name, f"{existing} is not a directory", fix)]
    try:
        # Asking is not enough: a read-only or full file system says yes until it is written to.
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".fairlead-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
    except OSError as error:
        return [failed(name, f"{existing} cannot be written: {error.strerror}", fix)]
    found = str(path) if existing == path else f"{path} (made at the first start)"
    return [passed(name, found), _free_space(settings, existing)]


def _free_space(settings: Settings, existing: Path) -> Check:
    free = shutil.disk_usage(existing).free
    needed = 100 * MiB
    if uses_cache_file(settings):
        present = settings.cache_file.stat().st_size if settings.cache_file.exists() else 0
        needed += max(0, settings.cache.persist_max_bytes - present)
    room = f"{free / GiB:.1f} GiB free"
    if free >= needed:
        return passed("free space", room)
    return warned(
        "free space",
        f"{room}, the cache may grow by {needed / GiB:.1f} GiB",
        "make room, lower cache.persist_max_bytes, or move server.data_dir",
    )


def uses_cache_file(settings: Settings) -> bool:
    """Whether answers persist in a file of the data directory."""
    return settings.cache.backend == "sqlite" and settings.cache.persists


def cache_file(settings: Settings, clock: Clock) -> Check:
    """Whether the persistent cache opens and is whole; read only, so a running node goes on."""
    name, path = "cache file", settings.cache_file
    if not uses_cache_file(settings):
        return passed(name, "not used")
    try:
        if not path.exists():
            return passed(name, f"{path} (made at the first start)")
        problem = _look_through(path, clock)
    except (OSError, apsw.Error) as error:
        problem = str(error)
    if problem is None:
        return passed(name, f"{path}, {path.stat().st_size / MiB:.1f} MiB")
    return warned(
        name,
        f"{path} is damaged: {problem}",
        "nothing must be done: the node sets it aside at its start and begins an empty cache",
    )


def _look_through(path: Path, clock: Clock) -> str | None:
    """What SQLite finds wrong, or None; a file too large to be read in time is given up as fine."""
    deadline = clock.monotonic() + CHECK_SECONDS
    connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(1000)
        connection.set_progress_handler(lambda: clock.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        found = str(next(iter(connection.execute("PRAGMA quick_check(1)")))[0])
    except apsw.InterruptError:
        return None
    finally:
        connection.close()
    return None if found == "ok" else found.splitlines()[0]

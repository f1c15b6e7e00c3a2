"""A PostgreSQL server of a benchmark's own, on a free port, with its defaults for durability."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import BenchmarkError
from benchmarks.processes import Child, Command, free_ports

_READY_SECONDS = 30.0
_USER = "fairlead"


def find_postgres() -> Path | None:
    """The folder of its programs, the newest of Debian's or that on the path; None without."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: place.parts[4])
    found = shutil.which("initdb")
    folders = [*reversed(debian), *([Path(found).parent] if found else [])]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def postgres(programs: Path, parent: Path, core: int) -> Iterator[str]:
    """The URL of an empty database on a server that runs within the block, its files in `parent`.

    Who runs it must be able to reach that folder.
    """
    account = _account()
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-postgres-", dir=parent) as name:
        folder = Path(name)
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        _initialise(programs, data, account)
        settings = {"port": port, "listen_addresses": "127.0.0.1"}
        arguments = [*_as(account), str(programs / "postgres"), "-D", str(data)]
        arguments += [f"--{key}={value}" for key, value in settings.items()]
        arguments.append(f"--unix_socket_directories={folder}")
        command = Command(arguments, folder / "log", core, {})
        with Child("postgres", command) as child:
            child.wait_ready(lambda: _answers(programs, port), _READY_SECONDS)
            yield f"postgresql://{_USER}@127.0.0.1:{port}/postgres"


def _initialise(programs: Path, data: Path, account: pwd.struct_passwd | None) -> None:
    options = ["-U", _USER, "--auth=trust", "-E", "UTF8", "--locale=C"]
    made = subprocess.run(
        [*_as(account), str(programs / "initdb"), "-D", str(data), *options],
        cwd=data.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise BenchmarkError(f"initdb: {made.stderr.strip()}")


def version(programs: Path) -> str:
    """As the server says it."""
    said = subprocess.run(
        [programs / "postgres", "--version"], check=True, capture_output=True, text=True
    )
    return said.stdout.split()[2]


def _answers(programs: Path, port: int) -> bool:
    asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(asked, check=False).returncode == 0


def _account() -> pwd.struct_passwd | None:
    """Who runs it where that may not be oneself: it refuses the administrator."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _as(account: pwd.struct_passwd | None) -> list[str]:
    if account is None:
        return []
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]

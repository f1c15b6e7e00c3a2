"""A real PostgreSQL server that a test starts, kills and starts again."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from support.services import require

INSTALL = "apt-get install -y postgresql"
USER, PASSWORD = "fairlead", "open-sesame"
_START_DEADLINE = 15.0
_numbers = itertools.count(1)


def programs() -> Path:
    """The folder of `initdb` and `postgres`; skips or fails where there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parts[4])
    for folder in reversed(debian):
        if (folder / "postgres").exists():
            return folder
    return Path(require("initdb", INSTALL)).parent


class PostgresServer:
    """One server on a free port of the loopback address; nothing of it outlives the process.

    Its files are in `folder` where the user that runs it can reach that (as root it is another
    user, since PostgreSQL refuses root), else in a temporary directory of their own. Every
    acknowledged COMMIT survives `kill`; `options` are settings of the server.
    """

    def __init__(
        self, folder: Path | None = None, options: Mapping[str, object] | None = None
    ) -> None:
        self.programs = programs()
        self.options = {"fsync": "on", "max_connections": 60, **(options or {})}
        self.port = _free_port()
        self._account = _account()
        self._made = folder is None or not self._reaches(folder)
        self.folder = Path(tempfile.mkdtemp(prefix="fairlead-pg-")) if self._made else folder
        self._process: subprocess.Popen[bytes] | None = None
        self._initialised = False

    def url(self, dbname: str = "postgres", *, password: str = PASSWORD, port: int = 0) -> str:
        """Where a database is; `port` names another one, of a proxy before it."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{port or self.port}/{dbname}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, dbname: str = "postgres") -> list[Any]:
        """What one statement answers, on a connection of its own."""
        url = self.url(dbname)
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    # ---- the process

    def start(self) -> None:
        """Return when it answers."""
        if not self._initialised:
            self._initialise()
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            **self.options,
        }
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = self._spawn("postgres", "-D", self._data, *arguments, stdout=log)
        atexit.register(self.kill)
        self._wait_until_ready()

    def stop(self) -> None:
        """As an operator does, connections being cut; idempotent."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """At once, as a crash: what was not synced is lost; idempotent.

        An immediate stop of the postmaster, because a SIGKILL would leave its children behind.
        """
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def start_again(self) -> None:
        """Start it unless it runs."""
        if self._process is None:
            self.start()

    def close(self) -> None:
        """End it and remove its files."""
        self.kill()
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the inside

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _initialise(self) -> None:
        word = self.folder / "password"
        word.write_text(PASSWORD)
        if self._account:
            for path in (self.folder, word):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        arguments = ["-D", self._data, "-U", USER, f"--pwfile={word}", "-E", "UTF8"]
        arguments += ["--locale=C", "--auth=scram-sha-256", "--no-sync", "--no-instructions"]
        initdb = self._spawn("initdb", *arguments, stdout=subprocess.DEVNULL)
        assert initdb.wait(60) == 0, "initdb has failed"
        self._initialised = True

    def _spawn(self, program: str, *arguments: str, stdout: Any) -> subprocess.Popen[bytes]:
        account: dict[str, Any] = {}
        if self._account:
            account = {
                "user": self._account.pw_uid,
                "group": self._account.pw_gid,
                "extra_groups": [],
            }
        command = [str(self.programs / program), *arguments]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        # A session of its own: an interrupt at the keyboard is the test's, not the server's.
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **account,
        )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        status = Path(self._data) / "postmaster.pid"
        deadline = time.monotonic() + _START_DEADLINE
        while True:
            # The eighth line is the server's state, for those who wait for it (pg_ctl does so).
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) > 7 and int(lines[0]) == self._process.pid and "ready" in lines[7]:
                return
            if self._process.poll() is not None:
                raise AssertionError(f"postgres has ended: {(self.folder / 'log').read_text()}")
            assert time.monotonic() < deadline, "postgres does not answer"
            time.sleep(0.01)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.kill)
        process.send_signal(number)
        process.wait(15)

    def _reaches(self, folder: Path) -> bool:
        if self._account is None:
            return True
        return all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents)


def _account() -> pwd.struct_passwd | None:
    """Who runs it where that may not be oneself."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

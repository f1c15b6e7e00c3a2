"""What doctor finds out about the machine."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from fairlead.cli.checks import machine
from fairlead.settings import Settings, load_settings
from fairlead.testing.clock import ManualClock


def settings_of(data_dir: Path, **overrides: object) -> Settings:
    given = {"server.data_dir": data_dir}
    return load_settings(None, {}, given | {k.replace("__", "."): v for k, v in overrides.items()})


def test_versions_are_told() -> None:
    assert [check.status for check in machine.versions()] == ["ok", "ok"]


def test_an_old_sqlite_is_refused() -> None:
    check = machine.sqlite("3.51.2")
    assert check.status == "failed"
    assert "apsw" in check.fix
    assert machine.sqlite("3.100.0").status == "ok"


def test_a_data_directory_that_will_be_made(tmp_path: Path) -> None:
    directory, _ = machine.data_dir(settings_of(tmp_path / "not" / "yet"))
    assert directory.status == "ok"
    assert "made at the first start" in directory.detail
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (check,) = machine.data_dir(settings_of(file / "below"))
    assert check.status == "failed"
    assert "not a directory" in check.detail
    assert "--data-dir" in check.fix


def test_a_data_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "NamedTemporaryFile", refuse)
    (check,) = machine.data_dir(settings_of(tmp_path))
    assert check.status == "failed"
    assert "Read-only file system" in check.detail


def test_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    _, room = machine.data_dir(settings_of(tmp_path))
    assert room.status == "warning"
    assert "cache.persist_max_bytes" in room.fix


def test_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (100, 1000))
    check = machine.open_files(settings)
    assert check.status == "warning"
    assert "ulimit -n 528" in check.fix
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (528, 1000))
    assert machine.open_files(settings).status == "ok"


def test_many_connections_need_many_files(tmp_path: Path) -> None:
    upstream = {"name": "a", "shape": "simulated", "max_connections": 100_000}
    environ = {"FAIRLEAD_UPSTREAMS": json.dumps([upstream])}
    assert machine.open_files(load_settings(None, environ)).status == "warning"


def cache_of(settings: Settings) -> Path:
    settings.cache_file.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(os.fspath(settings.cache_file))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000))")
    connection.close()
    return settings.cache_file


def test_a_whole_cache_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert "made at the first start" in machine.cache_file(settings, ManualClock()).detail
    cache_of(settings)
    assert machine.cache_file(settings, ManualClock()).status == "ok"


@pytest.mark.parametrize("damage", [b"not a database", b""])
def test_a_damaged_cache_file(tmp_path: Path, damage: bytes) -> None:
    settings = settings_of(tmp_path)
    file = cache_of(settings)
    content = bytearray(file.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    file.write_bytes(damage * 100 or bytes(content))
    check = machine.cache_file(settings, ManualClock())
    assert check.status == "warning"
    assert "damaged" in check.detail
    assert "sets it aside" in check.fix


def test_a_cache_file_that_is_not_used(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, cache__persist="off")
    settings.cache_file.write_bytes(b"rubbish")
    assert machine.cache_file(settings, ManualClock()).detail == "not used"


def test_a_large_cache_file_is_given_up_in_time(tmp_path: Path) -> None:
    class Hasty(ManualClock):
        def monotonic(self) -> float:
            self._now += machine.CHECK_SECONDS
            return self._now

    settings = settings_of(tmp_path)
    connection = apsw.Connection(os.fspath(settings.cache_file))
    connection.execute(
        "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        "LIMIT 200000) INSERT INTO t SELECT i FROM n"
    )
    connection.close()
    assert machine.cache_file(settings, Hasty()).status == "ok"

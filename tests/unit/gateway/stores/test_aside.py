"""Files set aside: with their log, two of them; and the lock around that."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.gateway.stores import aside
from fairlead.gateway.stores.aside import KEPT, exclusive, set_aside


def test_the_log_goes_along(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_text(f"x{suffix}")
    kept = set_aside(path)
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert found == {kept.name + suffix: f"x{suffix}" for suffix in ("", "-wal", "-shm")}


def test_only_the_latest_stay(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    for number in range(KEPT + 3):
        path.write_text(str(number))
        path.with_name("cache-wal").write_text("log")
        set_aside(path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert len(names) == 2 * KEPT
    texts = [file.read_text() for file in sorted(tmp_path.iterdir())]
    assert texts == ["3", "log", "4", "log"]


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_TRIES", 2)
    monkeypatch.setattr(aside, "_PAUSE", 0.0)
    path = tmp_path / "cache"
    with exclusive(path), pytest.raises(TimeoutError, match="lock"), exclusive(path):
        pytest.fail("two hold it")
    with exclusive(path):
        assert (tmp_path / "cache.lock").stat().st_mode & 0o777 == 0o600

"""What the doctor says of the place where conversations are kept."""

from __future__ import annotations

from pathlib import Path

from fairlead.cli.checks.threads import conversations
from fairlead.conversations import THREADS_FILE
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.settings import Settings, load_settings


def settings(folder: Path, **environ: str) -> Settings:
    given = {"HOME": str(folder), "FAIRLEAD_SERVER__DATA_DIR": str(folder)} | environ
    return load_settings(None, given)


async def test_a_file_that_is_not_there_yet_is_no_fault_and_is_not_made(tmp_path: Path) -> None:
    check = await conversations(settings(tmp_path))
    assert (check.status, "first start" in check.detail) == ("ok", True)
    assert not (tmp_path / THREADS_FILE).exists()


async def test_a_file_that_can_be_read_is_told_with_its_size(tmp_path: Path) -> None:
    async with SqliteThreadStore(tmp_path / THREADS_FILE):
        pass
    check = await conversations(settings(tmp_path))
    assert check.status == "ok"
    assert "MiB" in check.detail


async def test_a_file_of_something_else_fails_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / THREADS_FILE).write_bytes(b"no database at all" * 500)
    check = await conversations(settings(tmp_path))
    assert check.status == "failed"
    assert check.fix


async def test_a_database_that_is_away_fails_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://me:hidden@127.0.0.1:1/threads"
    check = await conversations(settings(tmp_path, FAIRLEAD_STORAGE__URL=url))
    assert check.status == "failed"
    assert "storage.url" in check.fix
    assert "hidden" not in check.detail + check.fix

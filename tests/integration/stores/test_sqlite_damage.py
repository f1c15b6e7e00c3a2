"""A cache file that is corrupt, foreign, of another version or deleted: set aside, mended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from fairlead.errors import CacheStoreError
from fairlead.gateway.base import PurgeSelector
from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.testing import ManualClock
from integration.stores.conftest import SqliteOpener
from integration.stores.samples import Listener, answer, key, until


def run(path: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def aside(path: Path) -> list[Path]:
    files = path.parent.glob(f"{path.name}.unusable-*")
    return sorted(file for file in files if not file.name.endswith(("-wal", "-shm")))


def overwrite(path: Path, start: int, size: int | None = None) -> None:
    size = path.stat().st_size - start if size is None else size
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xaa" * size)


async def filled(path: Path, clock: ManualClock, count: int = 60) -> None:
    """A good file with entries, closed."""
    async with SqliteResponseStore(path, clock=clock, on_warning=pytest.fail) as store:
        for number in range(count):
            await store.put(key(number), answer(clock, size=3000, seed=number))


def content_after(damage: Callable[[Path], object], path: Path) -> bytes:
    damage(path)
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def remove(*files: Path) -> None:
    for file in files:
        file.unlink()


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def foreign(path: Path) -> None:
    path.unlink()
    run(path, "CREATE TABLE accounts (name)", "INSERT INTO accounts VALUES ('a')")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"no database at all " * 1000),
    "short": lambda path: path.write_bytes(b"SQLite format 3\0"),
    "truncated": truncate,
    "header": lambda path: overwrite(path, 16, 84),
    "all but the header": lambda path: overwrite(path, 100),
    "all but the first page": lambda path: overwrite(path, 4096),
    "foreign": foreign,
    "newer": lambda path: run(path, "PRAGMA user_version = 99"),
    "older": lambda path: run(path, "PRAGMA user_version = 0"),
    "a table is missing": lambda path: run(path, "DROP TABLE totals"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_an_unusable_file_is_set_aside_at_the_start(
    open_sqlite: SqliteOpener,
    path: Path,
    clock: ManualClock,
    warnings: list[str],
    damage: Callable[[Path], object],
) -> None:
    await filled(path, clock)
    before = content_after(damage, path)
    store = await open_sqlite()
    (warning,) = warnings
    (kept,) = aside(path)
    assert kept.name in warning
    assert str(path) in warning
    assert kept.read_bytes() == before, "it is kept as it was found"
    assert store.statistics().available
    assert await store.get(key(1)) is None
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)


async def test_an_empty_file_is_simply_used(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, warnings: list[str]
) -> None:
    write(path, b"")
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)
    assert (warnings, aside(path)) == ([], [])


async def test_the_last_two_that_were_set_aside_are_kept(
    open_sqlite: SqliteOpener, path: Path, warnings: list[str]
) -> None:
    for number in range(4):
        write(path, b"garbage %d" % number * 100)
        await (await open_sqlite()).close()
    assert [file.read_bytes()[:9] for file in aside(path)] == [b"garbage 2", b"garbage 3"]
    assert len(warnings) == 4


async def test_damage_that_shows_at_a_read_is_mended_while_it_runs(
    open_sqlite: SqliteOpener,
    path: Path,
    clock: ManualClock,
    warnings: list[str],
    listener: Listener,
) -> None:
    await filled(path, clock)
    store = await open_sqlite(listener)
    assert await store.get(key(1)) == answer(clock, size=3000, seed=1)
    overwrite(path, 4096)
    outcomes = await asyncio.gather(
        *(store.get(key(number)) for number in range(60)), return_exceptions=True
    )
    assert any(isinstance(outcome, CacheStoreError) for outcome in outcomes)
    assert not store.statistics().available
    assert not store.may_contain(key(2)), "a store that is away costs a request nothing"
    assert len(warnings) == len(aside(path)) == 1

    assert await listener.next() == PurgeSelector(), "purges may have been missed meanwhile"
    assert store.statistics().available
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)
    assert len(warnings) == len(aside(path)) == 1


async def test_another_process_finds_the_new_file(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, listener: Listener
) -> None:
    """Two stores see the damage; one sets the file aside, and both go on with one new file."""
    await filled(path, clock)
    first, second = await open_sqlite(), await open_sqlite(listener)
    overwrite(path, 4096)
    await asyncio.gather(
        *(store.get(key(number)) for number in range(60) for store in (first, second)),
        return_exceptions=True,
    )
    assert await listener.next() == PurgeSelector()
    await until(clock, lambda: first.statistics().available)
    await first.put(key(1), answer(clock, seed=5))
    assert await second.get(key(1)) == answer(clock, seed=5)
    assert len(aside(path)) == 1


async def test_a_file_that_was_deleted_is_made_anew(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, listener: Listener
) -> None:
    store = await open_sqlite(listener)
    await store.put(key(1), answer(clock))
    remove(*path.parent.iterdir())
    assert await listener.next() == PurgeSelector()
    assert await store.get(key(1)) is None
    await store.put(key(1), answer(clock))
    assert path in path.parent.iterdir()
    assert await store.get(key(1)) is not None


async def test_two_versions_do_not_take_the_file_from_each_other(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, warnings: list[str]
) -> None:
    store = await open_sqlite()
    remove(path)
    run(path, "PRAGMA user_version = 99", "CREATE TABLE theirs (a)")
    await until(clock, lambda: not store.statistics().available)
    for _ in range(5):
        await clock.advance(1.0)
        await asyncio.sleep(0.01)
    assert not store.statistics().available
    assert aside(path) == []
    run(path, "INSERT INTO theirs VALUES (1)")
    assert len(warnings) == 1


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01" + b"x" * 50, b"\x07abc", b"\x00\x92\x01"])
async def test_a_damaged_value_is_a_miss_and_goes(
    open_sqlite: SqliteOpener,
    path: Path,
    clock: ManualClock,
    warnings: list[str],
    value: bytes,
) -> None:
    await filled(path, clock, 2)
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE entries SET value = ? WHERE digest = ?", (value, key(1).digest))
    store = await open_sqlite()
    assert await store.get(key(1)) is None
    assert not store.may_contain(key(1))
    assert await store.get(key(0)) is not None
    await store.close()
    with closing(apsw.Connection(str(path))) as connection:
        assert list(connection.execute("SELECT count(*) FROM entries")) == [(1,)]
    assert warnings == []


async def test_an_old_library_is_refused_with_the_command_that_helps(
    open_sqlite: SqliteOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    with pytest.raises(CacheStoreError, match=r"3\.40\.1.*pip install --upgrade"):
        await open_sqlite()


async def test_a_directory_that_cannot_be_used_is_no_reason_to_stop(
    open_sqlite: SqliteOpener, tmp_path: Path, clock: ManualClock, warnings: list[str]
) -> None:
    blocker = tmp_path / "file"
    write(blocker, b"")
    store = await open_sqlite(path=blocker / "responses.sqlite")
    assert not store.statistics().available
    assert not store.may_contain(key(1))
    with pytest.raises(CacheStoreError):
        await store.put(key(1), answer(clock))
    assert len(warnings) == 1
    assert "off for now" in warnings[0]
    remove(blocker)
    await until(clock, lambda: store.statistics().available)
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)

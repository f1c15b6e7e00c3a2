"""`AnalysisStore`: one suite over every implementation, and what only a file can suffer."""

from __future__ import annotations

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import ClosedError, StorageError
from fairlead.testing import ManualClock
from fairlead.workspace.analyses import MemoryAnalysisStore, SqliteAnalysisStore
from fairlead.workspace.analysesfile import check_library
from fairlead.workspace.base import Definition, FileAnalysis
from support.workspaces import Gate

Store = MemoryAnalysisStore | SqliteAnalysisStore
DAY = 24 * 3600.0


def analysis(name: str = "f", size: int = 0) -> FileAnalysis:
    return FileAnalysis(
        language="python",
        definitions=(Definition(name, "function", 1, 0, f"def {name}()"),),
        references={"a" * size: 2} if size else {"g": 300},
        imports=("os", "..x:y"),
        is_broken=size % 2 == 1,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "analyses.sqlite"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def make(
    request: pytest.FixtureRequest, path: Path, clock: ManualClock
) -> AsyncIterator[Callable[..., object]]:
    """Makes a store of some size, open."""
    async with AsyncExitStack() as stack:

        async def made(max_bytes: int = 1024 * 1024) -> Store:
            if request.param == "memory":
                return MemoryAnalysisStore(max_bytes)
            store = SqliteAnalysisStore(path, max_bytes=max_bytes, clock=clock)
            return await stack.enter_async_context(store)

        yield made


# ---- the contract


async def test_what_was_put_is_there(make: Callable[..., object]) -> None:
    store = await make()
    kept = {"1:python:a": analysis("f"), "1:python:b": analysis("é\ud7ff\0'\"")}
    await store.put(kept)

    assert await store.get([*kept, "1:python:c"]) == kept
    assert await store.get([]) == {}


async def test_keys_are_told_apart(make: Callable[..., object]) -> None:
    store = await make()
    keys = ["a", "A", "a ", "", "1", "1.0", "\u00e9", "e\u0301", '"', "']["]
    await store.put({key: analysis(f"f{place}") for place, key in enumerate(keys)})

    found = await store.get(keys)

    assert [found[key].definitions[0].name for key in keys] == [f"f{n}" for n in range(len(keys))]


async def test_a_key_may_be_put_again(make: Callable[..., object]) -> None:
    store = await make()
    await store.put({"a": analysis()})
    await store.put({"a": analysis(), "b": analysis()})

    assert set(await store.get(["a", "b"])) == {"a", "b"}
    assert store.statistics().entries == 2


async def test_there_is_a_bound(make: Callable[..., object]) -> None:
    store = await make(max_bytes=40_000)
    for number in range(100):
        await store.put({f"{number}": analysis(size=2_000)})
        assert store.statistics().bytes <= 40_000

    found = await store.get([f"{number}" for number in range(100)])

    assert "99" in found
    assert "0" not in found
    assert store.statistics().evictions == 100 - len(found)


async def test_more_at_once_than_there_is_room(make: Callable[..., object]) -> None:
    store = await make(max_bytes=20_000)
    await store.put({f"{number}": analysis(size=2_000) for number in range(50)})

    assert store.statistics().bytes <= 20_000


async def test_counts(make: Callable[..., object]) -> None:
    store = await make()
    await store.put({"a": analysis(), "b": analysis()})
    await store.get(["a", "c", "d"])

    counts = store.statistics()

    assert (counts.lookups, counts.hits, counts.writes, counts.failures) == (3, 1, 2, 0)
    assert counts.entries == 2
    assert 0 < counts.bytes < counts.max_bytes


# ---- in a file


def sqlite(path: Path, clock: ManualClock | None = None, size: int = 2**20) -> SqliteAnalysisStore:
    return SqliteAnalysisStore(path, max_bytes=size, clock=clock or ManualClock())


async def test_a_file_outlasts_the_store(path: Path) -> None:
    async with sqlite(path) as store:
        await store.put({"a": analysis()})
    async with sqlite(path) as store:
        assert await store.get(["a"]) == {"a": analysis()}
    assert mode_of(path) == 0o600


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_two_stores_share_a_file(path: Path) -> None:
    async with sqlite(path) as one, sqlite(path) as other:
        keys = [f"{number}" for number in range(20)]
        puts = [store.put({key: analysis()}) for key in keys for store in (one, other)]
        await asyncio.gather(*puts)
        assert len(await one.get(keys)) == 20
        await other.put({"new": analysis()})
        assert await one.get(["new"]) == {"new": analysis()}


async def test_what_was_used_stays(path: Path, clock: ManualClock) -> None:
    async with sqlite(path, clock, 20_000) as store:
        await store.put({"old": analysis(size=2_000), "older": analysis(size=2_000)})
        await store.put({f"{number}": analysis(size=2_000) for number in range(6)})
        await clock.advance(3 * DAY)
        await store.get(["old"])
        await store.put({"new": analysis(size=2_000)})

        assert set(await store.get(["old", "older", "new"])) == {"old", "new"}


@pytest.mark.parametrize("damage", ["garbage", "cut", "another", "version", "directory"])
async def test_a_file_that_cannot_be_used(path: Path, damage: str) -> None:
    async with sqlite(path) as store:
        await store.put({f"{number}": analysis(size=3_000) for number in range(50)})
    spoil(path, damage)

    async with sqlite(path) as store:
        await store.get(["0"])  # finds out
        await store.put({"new": analysis()})
        found = await store.get(["new"])
        failures = store.statistics().failures

    if damage == "directory":
        assert not found
        assert failures == 3
    else:
        assert found == {"new": analysis()}
        assert failures == 1
        assert path.with_name("analyses.sqlite.unusable").exists()


def spoil(path: Path, damage: str) -> None:
    match damage:
        case "garbage":
            path.write_bytes(b"not a database" * 1000)
        case "cut":
            data = path.read_bytes()
            path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
        case "another":
            path.unlink()
            with apsw.Connection(str(path)) as connection:
                connection.execute("CREATE TABLE precious (x)")
        case "version":
            with apsw.Connection(str(path)) as connection:
                connection.pragma("user_version", 99)
        case "directory":
            path.unlink()
            path.mkdir()


async def test_damage_that_shows_while_it_is_used(path: Path) -> None:
    async with sqlite(path) as store:
        await store.put({f"{number}": analysis(size=3_000) for number in range(50)})
        overwrite(path)

        found = [await store.get([f"{number}" for number in range(50)]) for _ in range(2)]
        await store.put({"new": analysis()})

        assert found[-1] == {}
        assert await store.get(["new"]) == {"new": analysis()}


def overwrite(path: Path) -> None:
    """Nothing of what was written is left, neither in the file nor in its log."""
    with apsw.Connection(str(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"\xff" * path.stat().st_size)


async def test_one_value_that_cannot_be_read(path: Path) -> None:
    async with sqlite(path) as store:
        await store.put({"a": analysis(), "b": analysis()})
        with apsw.Connection(str(path)) as connection:
            connection.execute("UPDATE analyses SET value = x'c1' WHERE key = 'a'")

        assert set(await store.get(["a", "b"])) == {"b"}
        await store.put({"a": analysis()})
        assert set(await store.get(["a", "b"])) == {"a", "b"}
        assert store.statistics().failures == 0


async def test_a_file_that_was_taken_away(path: Path) -> None:
    async with sqlite(path) as store:
        await store.put({"a": analysis()})
        for name in ("", "-wal", "-shm"):
            path.with_name(path.name + name).unlink()

        assert await store.get(["a"]) == {}
        await store.put({"b": analysis()})
        assert await store.get(["b"]) == {"b": analysis()}


async def test_another_process_makes_the_file(path: Path) -> None:
    path.parent.mkdir()
    lock = path.with_name("analyses.sqlite.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with sqlite(path) as store:
        assert await store.get(["a"]) == {}
        assert store.statistics().failures == 1
        lock.close()
        await store.put({"a": analysis()})
        assert await store.get(["a"]) == {"a": analysis()}


async def test_a_failure_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_directory(path)
    with caplog.at_level(logging.WARNING):
        async with sqlite(path) as store:
            for _ in range(5):
                assert await store.get(["a"]) == {}

    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert store.statistics().failures == 5


def make_directory(path: Path) -> None:
    path.mkdir(parents=True)


async def test_a_closed_store_says_so(path: Path) -> None:
    store = sqlite(path)
    with pytest.raises(ClosedError):
        await store.get(["a"])
    async with store:
        pass
    with pytest.raises(ClosedError):
        await store.put({"a": analysis()})


async def test_a_caller_that_goes_away_leaves_the_store_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite(path) as store:
        gate = Gate(store._file.put)
        monkeypatch.setattr(store._file, "put", gate)
        putting = asyncio.create_task(store.put({"a": analysis()}))
        await asyncio.to_thread(gate.reached.wait, 10)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        gate.open()

        assert await store.get(["a"]) == {"a": analysis()}


def test_an_old_library_is_refused() -> None:
    with pytest.raises(StorageError, match="pip install"):
        check_library("3.45.0")
    check_library("3.51.3")
    check_library("4.0.0")


names = st.text(max_size=20)
analyses = st.builds(
    FileAnalysis,
    st.none() | names,
    st.lists(
        st.builds(Definition, names, names, st.integers(1, 10**6), st.integers(0, 50), names)
    ).map(tuple),
    st.dictionaries(names, st.integers(1, 10**9)),
    st.lists(names).map(tuple),
    st.booleans(),
    st.sampled_from([None, "binary", "huge"]),
)


@given(analyses)
def test_every_analysis_is_the_same_after_it_was_stored(one: FileAnalysis) -> None:
    data = msgspec.msgpack.encode(one)

    assert msgspec.msgpack.decode(data, type=FileAnalysis) == one

"""Threads as lines: out of one store and into another, byte for byte; and lines that lie."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.conversations import lines
from fairlead.conversations.lines import export_events, import_events
from fairlead.conversations.memory import MemoryThreadStore
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.errors import NotFoundError, RequestError
from support.postgres import PostgresServer
from support.threads import Desk, Store, busy, new_id, replayed, said_as, wrote

HEADER = b'{"format":"fairlead.threads","version":1}\n'
ODD = (b'{ "a" : 1.0, "a":2 }', b' "in the middle"\t', b"[1,\n  2]", b'"\\ud83d\\u0041"', b"null")
"""Contents that would be others if they were read and written again."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Store, Store]]:
    """Two empty ones."""

    def made(name: str) -> Any:
        if request.param == "memory":
            return MemoryThreadStore()
        if request.param == "sqlite":
            return SqliteThreadStore(tmp_path / name)
        from fairlead.conversations.postgres import PostgresThreadStore

        return PostgresThreadStore(request.getfixturevalue("server").new_database())

    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(made(name)) for name in "ab"]
        yield first, second


@pytest.fixture
async def store() -> AsyncIterator[MemoryThreadStore]:
    async with MemoryThreadStore() as store:
        yield store


async def exported(store: Store, **only: Any) -> bytes:
    out = io.BytesIO()
    await export_events(store, out.write, **only)
    return out.getvalue()


async def taken(store: Store, data: bytes) -> tuple[int, int]:
    return await import_events(store, io.BytesIO(data))


async def filled(store: Store) -> list[tuple[str, str]]:
    """Threads of every kind, of two tenants."""
    ann, eve = Desk(), Desk("zebra", "eve")
    keys = [("team", thread) for thread in await busy(store, ann)]
    odd = ann.create(title="odd")
    await wrote(store, odd)
    await wrote(store, ann.add(odd.thread, *(said_as(content) for content in ODD)))
    keys.append(("team", odd.thread))
    return keys + [("zebra", thread) for thread in await busy(store, eve)]


async def test_what_is_imported_is_exported_byte_for_byte(stores: tuple[Store, Store]) -> None:
    first, second = stores
    keys = await filled(first)
    data = await exported(first)
    assert data.startswith(HEADER)
    count = data.count(b"\n") - 1
    assert await taken(second, data) == (count, count)
    assert await exported(second) == data
    for tenant, thread in keys:
        await replayed(second, tenant, thread)
        assert await second.head(tenant, thread) == await first.head(tenant, thread)
    assert await taken(second, data) == (count, 0)
    assert await exported(second) == data


async def test_small_pages_and_batches_make_no_difference(
    store: MemoryThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store)
    data = await exported(store)
    monkeypatch.setattr(lines, "_PAGE", 2)
    monkeypatch.setattr(lines, "BATCH_EVENTS", 1)
    assert await exported(store) == data
    done: list[int] = []
    async with MemoryThreadStore() as other:
        await import_events(other, io.BytesIO(data), done.append)
        assert await exported(other) == data
    assert done == sorted(done)
    assert len(done) > 6


async def test_a_tenant_or_a_thread_alone(store: MemoryThreadStore) -> None:
    keys = await filled(store)
    only = await exported(store, tenant="zebra")
    assert b'"tenant":"team"' not in only
    one = await exported(store, tenant="team", threads=[keys[0][1]])
    assert {msgspec.json.decode(line)["thread"] for line in one.splitlines()[1:]} == {keys[0][1]}
    with pytest.raises(NotFoundError):
        await exported(store, tenant="zebra", threads=[keys[0][1]])
    with pytest.raises(RequestError, match="tenant"):
        await exported(store, threads=[keys[0][1]])


def line(**changed: Any) -> bytes:
    fields = {
        "tenant": "team",
        "thread": new_id(),
        "origin": "local",
        "sequence": 1,
        "id": new_id(),
        "hlc": 1 << 16,
        "change": {"kind": "message", "role": "user", "timestamp": 1},
        "content": "hi",
    }
    fields |= changed
    return msgspec.json.encode({name: value for name, value in fields.items() if value != "-"})


def said(**fields: Any) -> dict[str, Any]:
    return {"kind": "message", "role": "user", "timestamp": 1, **fields}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "malformed|truncated"),
        (b"[]", "Expected"),
        (b'{"a":"\xff"}', "utf-8"),
        (line(more=1), "more"),
        (line(thread="../x"), "hexadecimal"),
        (line(id=new_id().upper()), "canonical"),
        (line(sequence=0), "range"),
        (line(hlc=1 << 63), "range|Integer|int"),
        (line(tenant=""), "tenant"),
        (line(origin="x" * 2_000), "origin"),
        (line(content="-"), "no content"),
        (line(change={"kind": "removed", "message": new_id()}), "cannot have"),
        (line(change={"kind": "removed", "message": "x"}, content="-"), "hexadecimal"),
        (line(change={"kind": "other"}), "other"),
        (line(change=said(branch=-2)), "range"),
        (line(change={"kind": "branched", "branch": 0}, content="-"), "range"),
        (line(content="-", content_text="{"), "no JSON"),
        (line().replace(b'"hi"', b"[" * 100_000 + b"]" * 100_000), "recursion|deep"),
    ],
)
async def test_a_bad_line_is_told_by_its_number(
    store: MemoryThreadStore, bad: bytes, why: str
) -> None:
    good = line(tenant="a")
    with pytest.raises(RequestError, match=f"line 3: .*({why})"):
        await taken(store, HEADER + good + b"\n" + bad + b"\n")


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "no export"),
        (b"\x00\xff\n", "no export"),
        (b'{"format":"other","version":1}\n', "'other'"),
        (b'{"format":"fairlead.threads","version":2}\n', "version 2"),
    ],
)
async def test_another_format_is_refused(store: MemoryThreadStore, head: bytes, why: str) -> None:
    with pytest.raises(RequestError, match=f"line 1: .*{why}"):
        await taken(store, head + line() + b"\n")
    assert await store.events(None, 1) == []


async def test_a_file_that_breaks_off_is_refused(store: MemoryThreadStore) -> None:
    with pytest.raises(RequestError, match="line 2: it breaks off"):
        await taken(store, HEADER + line())


async def test_a_line_that_is_too_long_is_not_read(
    store: MemoryThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1_000)
    with pytest.raises(RequestError, match="line 2: it is longer"):
        await taken(store, HEADER + line(content="x" * 2_000) + b"\n")


async def test_events_that_are_out_of_order_are_refused(store: MemoryThreadStore) -> None:
    one = line()
    with pytest.raises(RequestError, match="line 3: it is not in the order"):
        await taken(store, HEADER + one + b"\n" + one + b"\n")


async def test_a_content_of_another_thread_cannot_be_borrowed(store: MemoryThreadStore) -> None:
    other = new_id()
    data = line(tenant="a", id=other) + b"\n" + line(content="-", change=said(same_as=other))
    with pytest.raises(RequestError, match=f"content of {other}"):
        await taken(store, HEADER + data + b"\n")

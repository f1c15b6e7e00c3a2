"""The registry: each tenant's own, shared by processes, kept through restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from fairlead.errors import ClosedError, NotFoundError, RequestError, StorageError
from fairlead.workspace import registry as module
from fairlead.workspace.registry import WorkspaceRegistry


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[WorkspaceRegistry]:
    async with WorkspaceRegistry(tmp_path / "workspaces.sqlite") as opened:
        yield opened


async def test_a_path_is_registered_once_for_each_tenant(registry: WorkspaceRegistry) -> None:
    first, is_new = await registry.add("acme", "ann", "shop", "/shop")
    again, is_new_again = await registry.add("acme", "bob", "other", "/shop")
    theirs, _ = await registry.add("other", "eve", "shop", "/shop")
    assert (is_new, is_new_again) == (True, False)
    assert again == first
    assert theirs.id != first.id
    assert await registry.get("acme", first.id) == first
    assert await registry.get("acme", "shop") == first
    for name in (theirs.id, "none", ""):
        with pytest.raises(NotFoundError):
            await registry.get("acme", name)


async def test_two_of_one_name_have_to_be_told_by_id(registry: WorkspaceRegistry) -> None:
    first, _ = await registry.add("acme", "ann", "shop", "/a")
    await registry.add("acme", "ann", "shop", "/b")
    with pytest.raises(RequestError, match="several") as refused:
        await registry.get("acme", "shop")
    assert refused.value.status == 409
    assert await registry.get("acme", first.id) == first


async def test_pages_and_removal(registry: WorkspaceRegistry) -> None:
    new = [(await registry.add("acme", "ann", f"w{n}", f"/{n}"))[0] for n in range(5)]
    # Within a millisecond ids have no order of their own.
    added = sorted(new, key=lambda one: one.id)
    await registry.add("other", "eve", "x", "/x")
    assert await registry.page("acme", "", 3) == added[:3]
    assert await registry.page("acme", added[2].id, 3) == added[3:]
    await registry.remove("acme", added[0].id)
    for identity in (added[0].id, "none"):
        with pytest.raises(NotFoundError):
            await registry.remove("acme", identity)
    assert await registry.page("acme", "", 9) == added[1:]


async def test_another_process_sees_what_is_added_and_removed(
    registry: WorkspaceRegistry, tmp_path: Path
) -> None:
    async with WorkspaceRegistry(tmp_path / "workspaces.sqlite") as other:
        added, _ = await registry.add("acme", "ann", "shop", "/shop")
        assert await other.get("acme", added.id) == added
        await other.remove("acme", added.id)
        with pytest.raises(NotFoundError):
            await registry.get("acme", added.id)


async def test_a_tenant_has_so_many_at_most(
    registry: WorkspaceRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PER_TENANT", 2)
    for number in range(2):
        await registry.add("acme", "ann", "w", f"/{number}")
    with pytest.raises(RequestError, match="delete"):
        await registry.add("acme", "ann", "w", "/more")
    await registry.add("other", "eve", "w", "/more")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\0"])
async def test_a_name_that_is_none_is_refused(registry: WorkspaceRegistry, name: str) -> None:
    with pytest.raises(RequestError) as refused:
        await registry.add("acme", "ann", name, "/shop")
    assert refused.value.param == "name"


async def test_a_file_of_a_newer_program_or_none_of_ours_is_refused(tmp_path: Path) -> None:
    newer, damaged = tmp_path / "newer.sqlite", tmp_path / "damaged.sqlite"
    connection = apsw.Connection(str(newer))
    connection.pragma("user_version", 99)
    connection.close()
    damaged.write_bytes(b"no database" * 1000)
    for path, complaint in ((newer, "newer program"), (damaged, "not a database")):
        with pytest.raises(StorageError, match=complaint):
            await WorkspaceRegistry(path).open()
    assert damaged.read_bytes() == b"no database" * 1000


async def test_a_closed_one_says_so(tmp_path: Path) -> None:
    registry = WorkspaceRegistry(tmp_path / "workspaces.sqlite")
    async with registry:
        pass
    with pytest.raises(ClosedError):
        await registry.get("acme", "x")

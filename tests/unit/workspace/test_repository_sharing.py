"""Calls of one `RepositoryAnalysisCache` at the same time, and what interrupts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import CapacityError, ClosedError, StorageError
from fairlead.workspace import analysed
from fairlead.workspace.analysed import Look
from fairlead.workspace.mapoptions import RepositoryOptions
from fairlead.workspace.repository import RepositoryAnalysisCache
from fairlead.workspace.tokens import APPROXIMATE, TokenCounter, approximate
from support.repositories import SHOP, Inline, write
from support.workspaces import AheadClock


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact one takes a second to load."""
    estimate = TokenCounter(APPROXIMATE, approximate)
    monkeypatch.setattr(analysed, "token_counter", lambda: estimate)


@pytest.fixture
def inline() -> Inline:
    return Inline()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", SHOP)


@pytest.fixture
async def repository(shop: Path, inline: Inline) -> AsyncIterator[RepositoryAnalysisCache]:
    async with cache(shop, inline) as opened:
        yield opened


def cache(root: Path, inline: Inline, **bounds: Any) -> RepositoryAnalysisCache:
    options = RepositoryOptions(**bounds)
    return RepositoryAnalysisCache(root, analyse=inline, options=options, clock=AheadClock(60))


async def test_calls_at_once_share_the_work(
    repository: RepositoryAnalysisCache, inline: Inline
) -> None:
    maps = await asyncio.gather(*(repository.map(focus=[f"{n % 2}"]) for n in range(10)))

    assert sorted(inline.asked) == sorted(set(inline.asked))
    assert len({id(found) for found in maps}) == 2
    counts = repository.statistics()
    assert (counts.looks, counts.shared, counts.map_misses) == (1, 9, 2)


async def test_an_edit_during_an_analysis_is_in_a_map_asked_for_after_it(
    repository: RepositoryAnalysisCache, inline: Inline, shop: Path
) -> None:
    inline.gate.clear()
    first = asyncio.create_task(repository.map())
    await inline.reached.wait()
    write(shop, {"new.py": "def quite_new(): pass\n"})
    second = asyncio.create_task(repository.map())
    inline.gate.set()

    assert "quite_new" in (await second).text
    await first


async def test_cancelling_one_stops_nobody_else(
    repository: RepositoryAnalysisCache, inline: Inline
) -> None:
    inline.gate.clear()
    one, other = (asyncio.create_task(repository.map()) for _ in range(2))
    await inline.reached.wait()
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    inline.gate.set()

    assert "ShoppingCart" in (await other).text
    assert inline.cancelled == 0


async def test_cancelling_the_last_stops_the_analysis(
    repository: RepositoryAnalysisCache, inline: Inline
) -> None:
    inline.gate.clear()
    waiting = [asyncio.create_task(repository.map()) for _ in range(2)]
    await inline.reached.wait()
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    inline.gate.set()

    assert "ShoppingCart" in (await repository.map()).text
    assert inline.cancelled == 1


async def test_what_was_done_before_a_cancellation_is_kept(shop: Path, inline: Inline) -> None:
    async with cache(shop, inline, lanes=1, batch_files=2) as repository:
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stop(_: object) -> None:
            inline.gate.clear()
            if not reached.done():
                reached.set_result(None)

        waiting = asyncio.create_task(repository.map(progress=stop))
        await reached
        waiting.cancel()
        await asyncio.wait([waiting])
        before = set(inline.taken())
        inline.gate.set()
        await repository.map()

    assert before
    done = before - set(inline.asked)
    assert done


async def test_an_analysis_that_does_not_end(shop: Path, inline: Inline) -> None:
    inline.gate.clear()
    async with cache(shop, inline, deadline=0.05) as repository:
        with pytest.raises(CapacityError, match="ask again"):
            await repository.map()
        inline.gate.set()

        assert "ShoppingCart" in (await repository.map()).text


async def test_an_analysis_that_fails(repository: RepositoryAnalysisCache, inline: Inline) -> None:
    inline.error = StorageError("no")
    told = await asyncio.gather(*(repository.map() for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in told] == ["no"] * 3
    inline.error = None

    assert "ShoppingCart" in (await repository.map()).text


async def test_closing_turns_away_who_waits(shop: Path, inline: Inline) -> None:
    inline.gate.clear()
    repository = cache(shop, inline)
    await repository.open()
    waiting = asyncio.create_task(repository.map())
    await inline.reached.wait()
    await repository.close()

    with pytest.raises(ClosedError):
        await waiting
    assert inline.cancelled == 1


# ---- between the look and the read


def after_look(
    repository: RepositoryAnalysisCache, change: Callable[[], object]
) -> Callable[[], Look]:
    """The first look at the tree is followed by `change` before anything is read."""
    look, changes = repository._analysed.look, [change]

    def looked() -> Look:
        found = look()
        if changes:
            changes.pop()()
        return found

    return looked


def becomes_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def leads_out(path: Path) -> None:
    (path.parents[2] / "secret.py").write_text("def secret(): pass\n")
    path.unlink()
    path.symlink_to("../../secret.py")


def grows(path: Path) -> None:
    path.write_bytes(b"#" * 2_000_000)


CHANGES = {
    "gone": Path.unlink,
    "a directory": becomes_directory,
    "a link out": leads_out,
    "huge": grows,
    "another": lambda path: path.write_text("def quite_another(): pass\n"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changes_meanwhile(
    repository: RepositoryAnalysisCache,
    shop: Path,
    inline: Inline,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    path = shop / "shop/prices.py"
    looked = after_look(repository, lambda: CHANGES[change](path))
    monkeypatch.setattr(repository._analysed, "look", looked)

    first = await repository.map()
    second = await repository.map()

    assert "secret" not in first.text + second.text
    assert "total_price" not in first.text.replace("import total_price", "")
    async with cache(shop, Inline()) as fresh:
        expected = await fresh.map()
    assert second == expected
    assert ("quite_another" in second.text) == (change == "another")


async def test_a_failure_while_taking_in_begins_anew(
    repository: RepositoryAnalysisCache, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await repository.map()
    write(shop, {"new.py": "def quite_new(): pass\n"})
    with monkeypatch.context() as patch:
        patch.setattr(repository._analysed._graph, "_connect", broken)
        with pytest.raises(MemoryError):
            await repository.map()
    (shop / "new.py").unlink()

    assert await repository.map() == first


def broken(_: object) -> None:
    raise MemoryError

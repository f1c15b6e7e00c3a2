"""`RepositoryAnalysisCache`: right maps, and what they cost after every kind of change.

Longer than most, because all its tests open caches in one way.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fairlead.errors import ClosedError, RequestError, StorageUnavailableError
from fairlead.workspace import analysed
from fairlead.workspace.analyses import MemoryAnalysisStore
from fairlead.workspace.base import Progress
from fairlead.workspace.mapoptions import RepositoryOptions
from fairlead.workspace.repository import RepositoryAnalysisCache
from fairlead.workspace.symbols import MAX_ANALYSED
from fairlead.workspace.tokens import APPROXIMATE, TokenCounter, approximate
from support.git import git_or_skip
from support.repositories import SHOP, Inline, write
from support.workspaces import AheadClock

Opener = Callable[..., object]
DEFAULTS = RepositoryOptions()
SOURCES = sorted(name for name in SHOP if not name.endswith(".md"))


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact one takes a second to load."""
    estimate = TokenCounter(APPROXIMATE, approximate)
    monkeypatch.setattr(analysed, "token_counter", lambda: estimate)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", SHOP)


@pytest.fixture
def inline() -> Inline:
    return Inline()


@pytest.fixture
def clock() -> AheadClock:
    """Ahead, so that no file is too young to be believed."""
    return AheadClock(60)


@pytest.fixture
async def opened(inline: Inline, clock: AheadClock) -> AsyncIterator[Opener]:
    """Opens caches that share a store."""
    store = MemoryAnalysisStore()
    async with AsyncExitStack() as stack:

        async def make(
            root: Path, options: RepositoryOptions = DEFAULTS
        ) -> RepositoryAnalysisCache:
            cache = RepositoryAnalysisCache(
                root, store=store, analyse=inline, options=options, clock=clock
            )
            return await stack.enter_async_context(cache)

        yield make


# ---- maps


async def test_a_map_shows_what_matters(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)

    found = await repository.map(200)

    assert "shop/cart.py:\n class ShoppingCart:\n  def checkout_now(self):\n" in found.text
    assert found.tokens == approximate(found.text) <= 200
    assert found.counted == APPROXIMATE
    assert found.total_files == len(SHOP)
    assert {one.path for one in found.files} <= set(SHOP)
    assert sum(one.rank for one in found.files) <= 1.001
    assert dict(found.skipped) == {}
    assert found.broken == 0


async def test_a_budget_is_kept_and_a_focus_raises(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)

    small = await repository.map(64, ["renderCart"])

    assert small.tokens <= 64
    assert small.files[0].path == "web/index.ts"
    assert small.etag != (await repository.map(64, ["test_empty"])).etag


async def test_nothing_at_all(tmp_path: Path, opened: Opener, inline: Inline) -> None:
    found = await (await opened(tmp_path)).map()

    assert (found.text, found.tokens, found.total_files, list(found.files)) == ("", 0, 0, [])
    assert inline.asked == []


@pytest.mark.parametrize(
    ("tokens", "focus"), [(0, []), (10**9, []), (-1, []), (100, ["x"] * 101), (100, ["x" * 5000])]
)
async def test_what_no_map_can_be_made_of(
    shop: Path, opened: Opener, inline: Inline, tokens: int, focus: list[str]
) -> None:
    repository = await opened(shop)
    with pytest.raises(RequestError) as caught:
        await repository.map(tokens, focus)

    assert caught.value.status == 422
    assert inline.asked == []


async def test_what_is_left_out_is_counted(tmp_path: Path, opened: Opener) -> None:
    root = write(tmp_path / "root", {"good.py": "def good(): pass", "broken.py": "def f(:\n"})
    (root / "binary.py").write_bytes(b"\0\1")
    (root / "picture.png").write_bytes(b"\x89PNG\0")
    (root / "huge.py").write_bytes(b"#" * (MAX_ANALYSED + 1))
    (root / "latin.py").write_bytes("def plain(): 1  # é".encode("latin-1"))
    (root / "link.py").symlink_to("good.py")
    (root / "out.py").symlink_to("/etc/hostname")
    os.mkfifo(root / "pipe.py")
    write(root / "module", {".git": "gitdir: ../elsewhere", "inner.py": "def inner(): pass"})

    found = await (await opened(root)).map()

    assert dict(found.skipped) == {
        "binary": 2,
        "huge": 1,
        "symlink": 2,
        "special": 1,
        "submodule": 1,
    }
    assert found.broken == 1
    assert found.total_files == 6
    assert "good" in found.text
    assert "plain" in found.text
    assert "inner" not in found.text


async def test_ignored_and_hidden_files_are_not_in_it(shop: Path, opened: Opener) -> None:
    write(shop, {".gitignore": "made/\n", "made/x.py": "def made(): 1", ".secret.py": "def s(): 1"})

    found = await (await opened(shop)).map()

    assert found.total_files == len(SHOP)
    assert "made" not in found.text


# ---- what calls cost


async def test_unchanged_is_the_same_map(shop: Path, opened: Opener, inline: Inline) -> None:
    repository = await opened(shop)
    first = await repository.map(focus=["cart"])
    read = repository.statistics().read

    assert await repository.map(focus=["cart"]) is first
    counts = repository.statistics()
    assert inline.taken() == SOURCES
    assert (counts.read, counts.unchanged, counts.map_hits, counts.map_misses) == (read, 1, 1, 1)


async def test_an_edit_costs_one_file(shop: Path, opened: Opener, inline: Inline) -> None:
    repository = await opened(shop)
    before = await repository.map()
    inline.taken()
    write(shop, {"shop/prices.py": "def total_cost(cart): pass\n"})

    after = await repository.map()

    assert inline.taken() == ["shop/prices.py"]
    assert repository.statistics().read == len(SHOP) + 1
    assert "total_price" in before.text
    assert "total_cost" in after.text
    assert "def total_price" not in after.text
    assert after.etag != before.etag


async def test_an_edit_of_the_same_size_and_time_is_seen(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)
    await repository.map()
    path = shop / "shop/prices.py"
    times = path.stat()
    path.write_text(SHOP["shop/prices.py"].replace("total_price", "other_price"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert "def other_price" in (await repository.map()).text


async def test_a_touch_reads_and_analyses_nothing_new(
    shop: Path, opened: Opener, inline: Inline
) -> None:
    repository = await opened(shop)
    first = await repository.map()
    inline.taken()
    os.utime(shop / "shop/cart.py", (1, 1))

    assert await repository.map() is first
    assert inline.taken() == []


async def test_files_come_go_and_move(shop: Path, opened: Opener, inline: Inline) -> None:
    repository = await opened(shop)
    await repository.map()
    inline.taken()
    (shop / "shop/prices.py").rename(shop / "shop/costs.py")
    (shop / "web/index.ts").unlink()
    write(shop, {"new.go": "package main\nfunc NewThing() {}\n"})

    found = await repository.map()

    assert inline.taken() == ["new.go"]
    assert "shop/costs.py" in found.text
    assert "shop/prices.py" not in found.text
    assert "index.ts" not in found.text
    assert "NewThing" in found.text


async def test_a_file_becomes_what_cannot_be_analysed_and_back(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)
    path = shop / "shop/prices.py"
    first = await repository.map()
    path.write_bytes(b"\0")
    assert dict((await repository.map()).skipped) == {"binary": 1}
    path.write_bytes(b"#" * (MAX_ANALYSED + 1))
    assert dict((await repository.map()).skipped) == {"huge": 1}
    path.unlink()
    path.symlink_to("cart.py")
    assert dict((await repository.map()).skipped) == {"symlink": 1}
    path.unlink()
    path.write_text("def f(:\n")
    found = await repository.map()
    assert (dict(found.skipped), found.broken) == ({}, 1)
    path.write_text(SHOP["shop/prices.py"])

    last = await repository.map()

    assert (last.text, last.etag, last.broken) == (first.text, first.etag, 0)


async def test_equal_contents_are_analysed_once(
    tmp_path: Path, opened: Opener, inline: Inline
) -> None:
    same = {f"{name}.py": "def same(): pass\n" for name in "abcdef"}
    root = write(tmp_path, same | {"a.js": "def same(): pass\n"})

    await (await opened(root)).map()

    assert len(inline.taken()) == 2


async def test_a_second_clone_costs_no_analysis(
    shop: Path, tmp_path: Path, opened: Opener, inline: Inline
) -> None:
    first = await (await opened(shop)).map()
    inline.taken()
    shutil.copytree(shop, tmp_path / "clone")

    clone = await opened(tmp_path / "clone")

    assert (await clone.map()).text == first.text
    assert inline.taken() == []
    assert clone.statistics().found == len(SOURCES)


async def test_a_broken_file_in_which_nothing_was_found_is_not_kept(
    tmp_path: Path, opened: Opener, inline: Inline
) -> None:
    # For so looks what stands for a file on which a worker was lost, by its fault or not.
    root = write(tmp_path / "broken", {"a.py": "("})
    await (await opened(root)).map()
    await (await opened(shutil.copytree(root, tmp_path / "clone"))).map()

    assert inline.taken() == ["a.py", "a.py"]


async def test_maps_are_bounded(shop: Path, opened: Opener) -> None:
    repository = await opened(shop, RepositoryOptions(max_maps=3))
    first = await repository.map(focus=["0"])
    for number in range(5):
        await repository.map(focus=[f"{number}"])

    assert repository.statistics().maps == 3
    again = await repository.map(focus=["0"])
    assert again is not first
    assert again == first


# ---- git


async def test_branches(tmp_path: Path, opened: Opener, inline: Inline) -> None:
    git = git_or_skip(tmp_path / "shop")
    write(git.root, SHOP)
    git.commit("one")
    repository = await opened(git.root)
    main = await repository.map()
    git.run("checkout", "--quiet", "-b", "other")
    write(git.root, {"shop/prices.py": "def other_price(): pass\n", "x.rb": "def ruby_x; end\n"})
    inline.taken()

    dirty = await repository.map()
    assert inline.taken() == ["shop/prices.py", "x.rb"]
    assert "ruby_x" in dirty.text
    commit = git.commit("two")
    assert (await repository.map()).etag == dirty.etag
    assert repository.statistics().head == commit

    git.run("checkout", "--quiet", "main")
    back = await repository.map()
    assert (back.text, back.total_files) == (main.text, main.total_files)
    git.run("checkout", "--quiet", "other")
    assert (await repository.map()).text == dirty.text
    assert inline.taken() == []


async def test_another_commit_of_the_same_files_makes_the_map_again(
    tmp_path: Path, opened: Opener
) -> None:
    git = git_or_skip(tmp_path / "shop")
    write(git.root, SHOP)
    git.commit("one")
    repository = await opened(git.root)
    first = await repository.map()
    git.commit("two")

    second = await repository.map()

    assert second is not first
    assert second == first


async def test_without_git(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)
    await repository.map()

    assert repository.statistics().head is None


# ---- files too young to be believed


async def test_a_young_file_is_read_again(shop: Path, opened: Opener, clock: AheadClock) -> None:
    repository = await opened(shop)
    await repository.map()
    clock.ahead = 0
    write(shop, {"shop/prices.py": "def one_price(): pass\n"})
    await repository.map()
    read = repository.statistics().read

    first = await repository.map()
    assert repository.statistics().read == read + 1
    clock.ahead = 60
    assert await repository.map() is first
    assert repository.statistics().read == read + 2
    assert await repository.map() is first
    assert repository.statistics().read == read + 2


# ---- what goes wrong


def move(path: Path, to: Path) -> None:
    path.rename(to)


async def test_the_directory_goes_away_and_comes_back(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)
    first = await repository.map()
    move(shop, shop.with_name("away"))
    with pytest.raises(StorageUnavailableError):
        await repository.map()
    move(shop.with_name("away"), shop)

    assert (await repository.map()).text == first.text


async def test_another_directory_takes_its_place(shop: Path, opened: Opener) -> None:
    repository = await opened(shop)
    await repository.map()
    move(shop, shop.with_name("away"))
    write(shop, {"other.py": "def other(): pass"})

    assert (await repository.map()).text == "other.py:\n def other():\n"


async def test_too_many_files(shop: Path, opened: Opener) -> None:
    repository = await opened(shop, RepositoryOptions(max_files=3))
    with pytest.raises(RequestError) as caught:
        await repository.map()

    assert caught.value.status == 413


async def test_no_directory(tmp_path: Path, inline: Inline) -> None:
    repository = RepositoryAnalysisCache(tmp_path / "gone", analyse=inline)
    with pytest.raises(RequestError):
        await repository.open()
    assert not repository.is_open


async def test_closed(shop: Path, inline: Inline) -> None:
    repository = RepositoryAnalysisCache(shop, analyse=inline)
    with pytest.raises(ClosedError):
        await repository.map()
    async with repository:
        pass
    with pytest.raises(ClosedError):
        await repository.map()


async def test_progress_is_told(shop: Path, opened: Opener) -> None:
    repository = await opened(shop, RepositoryOptions(batch_files=2, lanes=1))
    told: list[Progress] = []

    await repository.map(progress=told.append)
    assert told == [Progress(done, 6) for done in (2, 4, 6)]
    await repository.map(progress=told.append)
    assert len(told) == 3

"""Which file uses which: right, kept, and made again when anything that it needs changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.errors import NotFoundError, RequestError
from fairlead.workspace.base import Progress
from fairlead.workspace.repository import RepositoryAnalysisCache
from support.repositories import SHOP, Inline, write
from support.workspaces import AheadClock

FILES = SHOP | {
    "go.mod": "module example.org/one\n",
    "main.go": 'package main\nimport "example.org/two/sub"\nfunc main() { sub.Do() }\n',
    "sub/sub.go": "package sub\nfunc Do() {}\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", FILES)


@pytest.fixture
async def repository(shop: Path) -> AsyncIterator[RepositoryAnalysisCache]:
    async with RepositoryAnalysisCache(shop, analyse=Inline(), clock=AheadClock(60)) as opened:
        yield opened


async def test_which_file_uses_which(repository: RepositoryAnalysisCache) -> None:
    told: list[Progress] = []
    found = await repository.dependencies(progress=told.append)

    assert found.uses["shop/cart.py"] == ["shop/prices.py"]
    assert found.uses["tests/test_cart.py"] == ["shop/cart.py"]
    assert found.unresolved == {"main.go": ["example.org/two/sub"]}
    assert told


async def test_of_some_files_only(repository: RepositoryAnalysisCache) -> None:
    assert set((await repository.dependencies(["shop"])).uses) == {"shop/cart.py"}
    assert set((await repository.dependencies(["tests/test_cart.py"])).uses) == {
        "tests/test_cart.py"
    }
    with pytest.raises(NotFoundError):
        await repository.dependencies(["gone.py"])
    with pytest.raises(RequestError, match="1000"):
        await repository.dependencies(["shop"] * 1001)


async def test_unchanged_is_the_same_graph(repository: RepositoryAnalysisCache) -> None:
    assert await repository.dependencies() is await repository.dependencies()


async def test_an_edit_is_seen(repository: RepositoryAnalysisCache, shop: Path) -> None:
    first = await repository.dependencies()
    write(shop, {"shop/prices.py": "import shop.cart\n"})

    found = await repository.dependencies()

    assert "shop/cart.py" in found.uses["shop/prices.py"]
    assert found.etag != first.etag


async def test_an_edit_of_a_manifest_is_seen(
    repository: RepositoryAnalysisCache, shop: Path
) -> None:
    await repository.dependencies()
    write(shop, {"go.mod": "module example.org/two\n"})

    found = await repository.dependencies()

    assert found.uses["main.go"] == ["sub/sub.go"]
    assert found.unresolved == {}

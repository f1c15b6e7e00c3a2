"""After any edits a cache that has seen them one by one tells what one that begins anew tells."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.workspace import analysed
from fairlead.workspace.base import DependencyGraph, RepositoryMap
from fairlead.workspace.repository import RepositoryAnalysisCache
from fairlead.workspace.tokens import APPROXIMATE, TokenCounter, approximate
from support.repositories import SHOP, Inline, write
from support.workspaces import AheadClock

CONTENTS = [
    *SHOP.values(),
    "from shop.cart import ShoppingCart, total_price\nclass Order(ShoppingCart): pass\n",
    "import shop.prices\n\ndef total_price(cart, discount_rate): return cart\n",
    "def broken(:\n",
    "\0",
    "",
]
PATHS = [*SHOP, "shop/orders.py", "other/deep/down.py", "web/cart.js"]

edits = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), st.sampled_from(CONTENTS)),
    st.tuples(st.just("delete"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("move"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    st.tuples(st.just("ignore"), st.just(".gitignore"), st.sampled_from(["", "web/\n", "*.py\n"])),
)


@pytest.fixture(autouse=True, scope="module")
def counter() -> object:
    """The exact one takes a second to load."""
    estimate = TokenCounter(APPROXIMATE, approximate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysed, "token_counter", lambda: estimate)
        yield


def edit(root: Path, kind: str, path: str, other: str) -> None:
    target = root / path
    if kind in {"write", "ignore"}:
        write(root, {path: other})
    elif target.exists() and kind == "delete":
        target.unlink()
    elif target.exists() and path != other:
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        target.replace(root / other)


async def told(cache: RepositoryAnalysisCache) -> tuple[RepositoryMap, DependencyGraph]:
    return await cache.map(120, ["cart"]), await cache.dependencies()


async def compare(root: Path, batches: list[list[tuple[str, str, str]]]) -> None:
    clock = AheadClock(60)
    async with RepositoryAnalysisCache(root, analyse=Inline(), clock=clock) as kept:
        await told(kept)
        for batch in batches:
            for one in batch:
                edit(root, *one)
            async with RepositoryAnalysisCache(root, analyse=Inline(), clock=clock) as fresh:
                assert await told(kept) == await told(fresh)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(edits, min_size=1, max_size=4), max_size=6))
def test_edits_one_by_one_come_to_the_same(batches: list[list[tuple[str, str, str]]]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        asyncio.run(compare(write(root, SHOP), batches))
    finally:
        shutil.rmtree(root)

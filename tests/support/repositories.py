"""Repositories of tests: their files, and analyses that are counted and can be held up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.symbols import analyse

SHOP = {
    "README.md": "# A shop\n",
    "shop/__init__.py": "",
    "shop/cart.py": (
        "from shop.prices import total_price\n\n\n"
        "class ShoppingCart:\n"
        "    def checkout_now(self):\n        return total_price(self)\n"
    ),
    "shop/prices.py": "def total_price(cart):\n    return sum(cart)\n",
    "tests/test_cart.py": (
        "from shop.cart import ShoppingCart\n\n\n"
        "def test_empty():\n    assert ShoppingCart().checkout_now() == 0\n"
    ),
    "web/index.ts": "export function renderCart(id: string): string { return id }\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    """Make these files; the root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class Inline:
    """An `Analyse` without processes, that tells what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """The paths, in the order in which they came."""
        self.reached = asyncio.Event()
        """Somebody waits at the gate, or has waited."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.error: Exception | None = None

    async def __call__(self, files: Sequence[tuple[str, bytes]]) -> list[FileAnalysis]:
        self.asked += [path for path, _ in files]
        self.reached.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return [analyse(*file) for file in files]

    def taken(self) -> list[str]:
        """What was asked for since the last call, sorted."""
        asked, self.asked = self.asked, []
        return sorted(asked)

"""Who may import whom: the floors of docs/architecture.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.source import Module, modules, parse

FEATURES = frozenset(
    {"gateway", "traffic", "conversations", "workspace", "edge", "sync", "assets", "monitor"}
)
FRAMES = frozenset({"web", "bench"})
TOP = frozenset({"settings", "app", "cli", "__main__", ""})
"""May import everything but `testing`; the empty name is the package itself."""

FOREIGN_TO_CORE = frozenset(
    {"aiohttp", "apsw", "fastapi", "httptools", "redis", "starlette", "structlog", "uvicorn"}
)
"""Libraries of I/O, servers and logs: core is mechanisms only."""


def part_of(name: str) -> str:
    """The part of the package that `name` (dotted) belongs to; empty for the package itself."""
    _, _, rest = name.partition("fairlead.")
    return rest.partition(".")[0]


def ours(module: Module) -> list[str]:
    """What it imports of this package."""
    return [name for name in module.imports() if name.split(".")[0] == "fairlead"]


def violations(module: Module) -> list[str]:
    """The imports that its floor does not allow."""
    part = part_of(module.name)
    return [name for name in ours(module) if not _allowed(part, name)]


def _allowed(part: str, name: str) -> bool:
    target = part_of(name)
    if target == "testing" or part == "testing":
        return part == "testing" and (target in {"testing", "core", "errors"} or _contract(name))
    if part in TOP:
        return True
    if part == "errors":
        return False
    below = {"errors"} | ({"core"} if part != "core" else set()) | {part}
    if part in FRAMES:
        below |= FEATURES
    return target in below


def _contract(name: str) -> bool:
    """Whether `name` lies in some feature's contracts: a module named `base`."""
    return part_of(name) in FEATURES and "base" in name.split(".")[2:]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_module_imports_only_what_lies_below_it(module: Module) -> None:
    assert violations(module) == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_every_module_belongs_to_a_floor(module: Module) -> None:
    known = FEATURES | FRAMES | TOP | {"core", "errors", "testing"}

    assert part_of(module.name) in known


def test_errors_need_the_standard_library_alone() -> None:
    (errors,) = [module for module in modules() if module.name == "fairlead.errors"]

    assert {name.split(".")[0] for name in errors.imports()} <= sys.stdlib_module_names


def test_core_knows_no_library_of_input_and_output() -> None:
    for module in modules():
        if part_of(module.name) == "core":
            used = {name.split(".")[0] for name in module.imports()}
            assert not used & FOREIGN_TO_CORE, module.name


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("fairlead.errors", "import fairlead.core.clock", True),
        ("fairlead.core.lru", "from fairlead.errors import FairleadError", False),
        ("fairlead.core.lru", "from fairlead.core import clock", False),
        ("fairlead.core.lru", "from fairlead.gateway import keys", True),
        ("fairlead.gateway.keys", "from fairlead.core.lru import SizedLRU", False),
        ("fairlead.gateway.keys", "from fairlead.gateway.base import CacheKey", False),
        ("fairlead.gateway.keys", "from .base import CacheKey", False),
        ("fairlead.gateway.keys", "from ..monitor import base", True),
        ("fairlead.gateway.keys", "from fairlead import monitor", True),
        ("fairlead.gateway.keys", "import fairlead.monitor.base as b", True),
        ("fairlead.gateway.keys", "def f():\n    from fairlead.web import rim", True),
        ("fairlead.gateway.keys", "if TYPE_CHECKING:\n    from fairlead.sync import x", True),
        ("fairlead.gateway.keys", "from fairlead.testing import ManualClock", True),
        ("fairlead.gateway.keys", "from fairlead.settings import Settings", True),
        ("fairlead.web.rim", "from fairlead.monitor import base", False),
        ("fairlead.web.rim", "from fairlead.bench import trace", True),
        ("fairlead.web.rim", "from fairlead.settings import Settings", True),
        ("fairlead.app", "from fairlead.web import rim", False),
        ("fairlead.app", "from fairlead.testing import ManualClock", True),
        ("fairlead.testing.clock", "from fairlead.core.clock import Clock", False),
        ("fairlead.testing.leg", "from fairlead.gateway.legs.base import Leg", False),
        ("fairlead.testing.leg", "from fairlead.gateway.gateway import Gateway", True),
    ],
)
def test_the_rule_itself(name: str, text: str, wrong: bool) -> None:
    module = parse(name, Path(name.replace(".", "/") + ".py"), text)

    assert bool(violations(module)) == wrong

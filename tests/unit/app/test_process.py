from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any, cast

import pytest

from fairlead.app.node import Node
from fairlead.app.process import Plan, Reloading, _as_its_siblings
from fairlead.errors import ConfigurationError
from fairlead.settings import Settings
from fairlead.web.server import ServerOptions
from support.wire import until
from unit.app.conftest import Load

UPSTREAM = '[[upstreams]]\nname = "{name}"\nshape = "simulated"\n'


class Reloaded:
    """A node as `Reloading` sees it: what it was told."""

    def __init__(self) -> None:
        self.told: list[Settings] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def reload(self, settings: Settings) -> None:
        """Take note."""
        self.told.append(settings)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def node() -> Reloaded:
    return Reloaded()


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """What SIGHUP does stays this process's own affair."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def reloading(node: Reloaded, reload: Any = Settings) -> Reloading:
    return Reloading(cast("Node", node), reload)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


async def test_each_hangup_is_one_reading(node: Reloaded) -> None:
    async with reloading(node):
        for count in (1, 2):
            hang_up()
            await until(lambda count=count: len(node.told) == count, "it was told")  # type: ignore[misc]


async def test_several_during_one_are_one_more(node: Reloaded) -> None:
    """One at a time, and what changed after the first had begun is not missed."""
    node.gate = asyncio.Event()
    async with reloading(node):
        hang_up()
        await until(lambda: len(node.told) == 1, "the first is under way")
        for _ in range(5):
            hang_up()
        await asyncio.sleep(0)
        assert len(node.told) == 1
        node.gate.set()
        await until(lambda: len(node.told) == 2, "one more")
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(node.told) == 2


@pytest.mark.parametrize(
    "failure",
    [ConfigurationError("server.port", 0, "is taken"), OSError("no space"), ValueError("a bug")],
)
async def test_one_that_fails_is_told_and_the_next_one_works(
    node: Reloaded, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    node.failure = failure
    async with reloading(node):
        hang_up()
        await until(lambda: "the old configuration stays" in caplog.text, "it is told")
        assert str(failure) in caplog.text
        node.failure = None
        with caplog.at_level(logging.INFO):
            hang_up()
            await until(lambda: "the configuration was reloaded" in caplog.text, "it works")


async def test_a_file_that_cannot_be_used_never_reaches_the_node(
    node: Reloaded, caplog: pytest.LogCaptureFixture
) -> None:
    def reload() -> Settings:
        raise ConfigurationError("server.prot", 1, "is not known")

    async with reloading(node, reload):
        hang_up()
        await until(lambda: "server.prot" in caplog.text, "it is told")
    assert node.told == []


async def test_while_the_node_closes_a_hangup_does_not_end_it(node: Reloaded) -> None:
    async with reloading(node):
        pass
    hang_up()
    assert node.told == []


def plan(settings: Settings, reload: Any) -> Plan:
    return Plan(settings, ServerOptions(), reload)


def test_a_worker_that_replaces_another_takes_over_the_upstreams_alone(load: Load) -> None:
    """All else needs a restart of the node, for this worker as for its siblings."""
    first = load("[server]\nworkers = 2\n[cache]\nttl = 5\n" + UPSTREAM.format(name="old"))
    second = load("[server]\nworkers = 8\n[cache]\nttl = 9\n" + UPSTREAM.format(name="new"))
    settings = _as_its_siblings(plan(first, lambda: second)).settings
    assert [upstream.name for upstream in settings.upstreams] == ["new"]
    assert (settings.server.workers, settings.cache.ttl) == (2, 5)


def test_it_begins_as_the_node_did_where_the_file_cannot_be_used(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    def reload() -> Settings:
        raise ConfigurationError("server.prot", 1, "is not known")

    first = load(UPSTREAM.format(name="old"))
    assert _as_its_siblings(plan(first, reload)).settings is first
    assert "server.prot" in caplog.text

"""Edges before scripted upstreams, on the event loop that a node runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import uvloop

from integration.edge.server import EdgeServer
from support.gateway import ScriptedLeg, ScriptedReply, make_upstream


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that a node runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def leg() -> ScriptedLeg:
    return ScriptedLeg(lambda _: ScriptedReply(body=b'{"ok": true}'))


@pytest_asyncio.fixture
async def edge(leg: ScriptedLeg) -> AsyncIterator[EdgeServer]:
    """Speaks every API; one model, `m`."""
    async with EdgeServer(make_upstream(leg, shape="simulated", models=["m"])) as opened:
        yield opened
    assert leg.open_replies == 0

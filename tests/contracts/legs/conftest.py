"""Both legs on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from contracts.legs.scenario import AnyLeg, OpenLeg, opener
from fairlead.gateway.legs.aiohttp import AiohttpLeg
from fairlead.gateway.legs.lean import LeanLeg


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[LeanLeg, AiohttpLeg], ids=["lean", "aiohttp"])
def leg_type(request: pytest.FixtureRequest) -> type[AnyLeg]:
    kind: type[AnyLeg] = request.param
    return kind


@pytest.fixture
def open_leg(leg_type: type[AnyLeg]) -> OpenLeg:
    """`async with open_leg(url, **options) as leg`."""
    return opener(leg_type)


@pytest.fixture
def open_lean() -> OpenLeg:
    """As `open_leg`, for what only the lean leg promises; each such test says why."""
    return opener(LeanLeg)


@pytest.fixture
def open_aiohttp() -> OpenLeg:
    """As `open_leg`, for what only the aiohttp leg can do."""
    return opener(AiohttpLeg)

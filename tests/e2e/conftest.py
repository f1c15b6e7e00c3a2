"""A simulated upstream, a node before it, and the official SDKs pointed at both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.nodeprocess import NodeProcess
from support.sdk import Pair

QUICK = SimulatedOptions(
    ttft=0, prefill=0, tokens_per_second=0, answer_tokens=40, models=("simulated", "sim-large")
)
CONFIG = """
[server]
shutdown_timeout = 2

[[upstreams]]
name = "simulated"
shape = "simulated"
base_url = "{url}"
"""
# What is the same is compared without the cache; that it replays well has tests of its own.
UNCACHED = {"x-fairlead-cache": "off"}
OPTIONS: dict[str, Any] = {"api_key": "of-the-caller", "max_retries": 0, "timeout": 10}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulated() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def simulated_node(
    simulated: SimulatedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    with NodeProcess(folder, CONFIG.format(url=simulated.url)) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def openai_pair(
    simulated: SimulatedServer, simulated_node: NodeProcess
) -> AsyncIterator[Pair[openai.AsyncOpenAI]]:
    direct, node = (
        openai.AsyncOpenAI(base_url=f"{url}/v1", default_headers=UNCACHED, **OPTIONS)
        for url in (simulated.url, simulated_node.url)
    )
    async with direct, node:
        yield Pair(simulated, direct, node)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def anthropic_pair(
    simulated: SimulatedServer, simulated_node: NodeProcess
) -> AsyncIterator[Pair[anthropic.AsyncAnthropic]]:
    direct, node = (
        anthropic.AsyncAnthropic(base_url=url, default_headers=UNCACHED, **OPTIONS)
        for url in (simulated.url, simulated_node.url)
    )
    async with direct, node:
        yield Pair(simulated, direct, node)

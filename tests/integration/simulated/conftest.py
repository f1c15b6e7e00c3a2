"""A simulated upstream on a real socket, and the official SDKs pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer

QUICK = SimulatedOptions(
    ttft=0, prefill=0, tokens_per_second=0, answer_tokens=40, models=("simulated", "sim-large")
)


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(QUICK) as opened:
        yield opened


@pytest.fixture
async def openai_client(server: SimulatedServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=10
    ) as client:
        yield client


@pytest.fixture
async def anthropic_client(server: SimulatedServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=server.url, api_key="none", max_retries=0, timeout=10
    ) as client:
        yield client

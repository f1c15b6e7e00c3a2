"""The API under a real server and a real client, with the node's own logging."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import structlog
import uvicorn

from fairlead.monitor.logs import configure_logging
from fairlead.monitor.redaction import Redactor
from fairlead.web.api import create_api
from unit.web.fakenode import FakeNode


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("json", "info", redactor=Redactor(), stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def client(node: FakeNode, log: io.StringIO) -> AsyncIterator[aiohttp.ClientSession]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_api(node), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with aiohttp.ClientSession(base) as session:
        yield session
    server.should_exit = True
    async with asyncio.timeout(10):
        await serving


async def test_a_scrape_a_probe_and_a_purge(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as response:
        assert "fairlead_inflight_requests 3.0" in await response.text()
    async with client.get("/readyz") as response:
        assert (response.status, (await response.json())["status"]) == (200, "ready")
    async with client.delete("/api/cache", params={"model": "m1"}) as response:
        assert await response.json() == {"purged": 2}


async def test_the_pages_scripts_come_from_here(client: aiohttp.ClientSession) -> None:
    async with client.get("/docs/assets/swagger-ui-bundle.js") as response:
        assert response.headers["content-type"].startswith("text/javascript")
        assert len(await response.read()) > 100_000
    async with client.get("/docs/assets/../../../etc/passwd") as response:
        assert response.status == 404


async def test_a_bug_is_one_problem_and_one_log_record(
    client: aiohttp.ClientSession, node: FakeNode, log: io.StringIO
) -> None:
    node.failure = RuntimeError("with Bearer abc.def")
    async with client.delete("/api/cache?all=true", headers={"x-request-id": "mine"}) as response:
        assert (response.status, response.headers["x-request-id"]) == (500, "mine")
        assert response.content_type == "application/problem+json"
    records = [json.loads(line) for line in log.getvalue().splitlines()]
    (failure,) = (record for record in records if record["level"] == "error")
    assert (failure["request_id"], failure["path"]) == ("mine", "/api/cache")
    assert "Bearer ***" in failure["exception"]
    assert "abc.def" not in log.getvalue()
    assert "all=true" not in log.getvalue()

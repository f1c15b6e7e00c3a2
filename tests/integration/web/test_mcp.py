"""The workspace tools over MCP, called by the official SDK's client: on a node and on stdio."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from fairlead.settings.sections import WorkspaceSettings
from support.nodeprocess import NodeProcess, clean_environ
from support.places import ANN, EVE, places
from support.repositories import SHOP, write
from support.threadapi import call

READING = ["read_file", "list_files", "search", "repo_map", "dependencies"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", SHOP)


async def said(client: Client, tool: str, **arguments: Any) -> str:
    """What a tool answers."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer
    return str(answer.content[0].text)


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer
    return str(answer.content[0].text)


async def every_tool(client: Client, *, writable: bool) -> None:
    """List the tools, call each, and be refused in words that a model understands."""
    listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == [*READING, *(["write_file"] if writable else [])]
    for tool in listed:
        assert tool.description
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool.name != "write_file")

    text = await said(client, "read_file", path="shop/prices.py", first=1, last=1)
    assert text.startswith("def total_price(cart):\n[shop/prices.py: lines 1 to 1 of 2, etag ")
    paths = await said(client, "list_files", pattern="shop/*.py")
    assert paths.splitlines()[:3] == ["shop/__init__.py", "shop/cart.py", "shop/prices.py"]
    found = await said(client, "search", query="checkout_now", glob="cart.py")
    assert found.startswith("shop/cart.py:5:     def checkout_now(self):")
    assert "class ShoppingCart:" in await said(client, "repo_map", focus=["cart"])
    uses = await said(client, "dependencies", path="shop/cart.py")
    assert "uses shop/prices.py" in uses
    assert "used by tests/test_cart.py" in uses

    assert "`$.first`" in await refused(client, "read_file", path="a", first=0)
    assert "'..'" in await refused(client, "read_file", path="../x")
    assert "nothing" in await refused(client, "read_file", path="none", nothing=1)
    assert "none" in await refused(client, "read_file", path="none")
    if not writable:
        assert "read_file" in await refused(client, "write_file", path="a", content="b")


async def writes(client: Client, shop: Path) -> None:
    first = await said(client, "write_file", path="new.md", content="one\n")
    assert "4 bytes written" in first
    await refused(client, "write_file", path="new.md", content="without an etag")
    etag = first.rpartition("etag ")[2].rstrip("]")
    await said(client, "write_file", path="new.md", content="two\n", etag=etag)
    await refused(client, "write_file", path="new.md", content="three\n", etag=etag)
    assert (shop / "new.md").read_text() == "two\n"


@pytest.mark.parametrize("writable", [False, True])
async def test_stdio(tmp_path: Path, shop: Path, writable: bool) -> None:
    arguments = [*("-m", "fairlead", "mcp", str(shop), "--data-dir", str(tmp_path / "data"))]
    server = StdioServerParameters(
        command=sys.executable,
        args=[*arguments, *(["--allow-write"] if writable else [])],
        env=clean_environ(tmp_path),
    )
    async with Client(server) as client:
        assert "repo_map" in str(client.instructions)
        await every_tool(client, writable=writable)
        if writable:
            await writes(client, shop)


@asynccontextmanager
async def connected(app: httpx2.AsyncClient) -> AsyncIterator[Client]:
    transport = streamable_http_client("http://127.0.0.1/mcp", http_client=app)
    async with Client(transport) as client:
        yield client


async def test_http_by_tenant(tmp_path: Path, shop: Path) -> None:
    rules = WorkspaceSettings(mcp_writable=True, watch=False)
    async with places(tmp_path / "data", rules) as (_, api):
        answer = await api.post("/api/workspaces", json={"path": str(shop)}, headers=ANN)
        identity = answer.json()["id"]
        api.headers.update(ANN)
        async with connected(api) as client:
            await every_tool(client, writable=True)
            await writes(client, shop)
            named = await said(client, "read_file", path="README.md", workspace="shop")
            assert named.startswith("# A shop")
        api.headers.update(EVE)
        async with connected(api) as client:
            for name in (identity, "shop"):
                told = await refused(client, "read_file", path="README.md", workspace=name)
                assert "A shop" not in told
            assert "no workspace" in await refused(client, "read_file", path="README.md")


async def test_who_is_not_known_is_refused(tmp_path: Path) -> None:
    async with places(tmp_path / "data") as (_, api):
        answer = await api.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await api.get("/mcp", headers=ANN)).status_code == 405


@pytest.mark.timeout(60)
async def test_a_running_node(tmp_path: Path, shop: Path) -> None:
    with NodeProcess(tmp_path) as node:
        assert call(node.url, "POST", "/api/workspaces", {"path": str(shop)}).status == 201
        async with Client(f"{node.url}/mcp") as client:
            await every_tool(client, writable=False)

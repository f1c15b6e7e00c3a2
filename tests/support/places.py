"""A node as far as its workspaces go, for callers who say who they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2

from fairlead.app.workspaces import Workspaces
from fairlead.core.identity import Principal
from fairlead.errors import RequestError
from fairlead.gateway.legs.base import Headers
from fairlead.settings import Settings
from fairlead.settings.sections import ServerSettings, WorkspaceSettings
from fairlead.web.api import create_api
from fairlead.web.gate import LateMcp
from unit.web.fakenode import FakeNode

ANN, EVE = {"x-who": "acme/ann"}, {"x-who": "other/eve"}


class PlacesNode(FakeNode):
    """Callers are who `x-who` says: tenant/user."""

    def __init__(self, data_dir: Path, rules: WorkspaceSettings, host: str) -> None:
        super().__init__()
        data_dir.mkdir(parents=True, exist_ok=True)
        settings = Settings(server=ServerSettings(host=host), workspaces=rules)
        self.workspaces = Workspaces(settings, data_dir)
        self.mcp = LateMcp(self.workspaces, writable=rules.mcp_writable)

    def identify(self, headers: Headers) -> Principal:
        who = dict(headers).get(b"x-who")
        if who is None:
            raise RequestError(401, "who asks is not known", code="token")
        tenant, _, user = who.decode().partition("/")
        return Principal(tenant, user, tenant, verified=True)


@asynccontextmanager
async def places(
    data_dir: Path, rules: WorkspaceSettings | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[PlacesNode, httpx2.AsyncClient]]:
    """The node, and a client of its API."""
    node = PlacesNode(data_dir, rules or WorkspaceSettings(watch=False), host)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(node.workspaces)
        await stack.enter_async_context(node.mcp)
        transport = httpx2.ASGITransport(app=create_api(node))
        client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        yield node, await stack.enter_async_context(client)

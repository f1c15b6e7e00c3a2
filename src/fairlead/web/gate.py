"""What stands before `/mcp`: who asks is known before anything is read, or loaded."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

from starlette.types import Receive, Scope, Send

from fairlead.core.identity import Principal
from fairlead.core.lifecycle import Resource
from fairlead.errors import ClosedError, FairleadError
from fairlead.web.base import NodeView, WorkspacesView, WorkspaceView
from fairlead.web.problems import problem_of_error, problem_response

_PRINCIPAL = "fairlead.principal"
"""Where an ASGI scope has who asks."""


class McpGate:
    """Hands requests on to the node's MCP endpoint, with who asks in their scope."""

    def __init__(self, node: NodeView) -> None:
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; a caller that is not known gets a problem document."""
        try:
            scope[_PRINCIPAL] = self._node.identify(scope["headers"])
            await self._node.mcp(scope, receive, send)
        except FairleadError as error:
            await problem_response(problem_of_error(error))(scope, receive, send)


class LateMcp(Resource):
    """The MCP endpoint of a node's workspaces, made when it is asked for the first time.

    The SDK takes half a second to load, which most nodes never need.
    """

    def __init__(self, workspaces: WorkspacesView, *, writable: bool) -> None:
        """`writable`: the tool `write_file` is offered."""
        self._workspaces = workspaces
        self._writable = writable
        self._making = asyncio.Lock()
        self._endpoint: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose scope has who asks."""
        async with self._making:
            if not self.is_open:
                raise ClosedError("the node is shutting down")
            if self._endpoint is None:
                # In a thread: the event loop has streams to serve meanwhile.
                module = await asyncio.to_thread(import_module, "fairlead.web.mcp")
                endpoint = module.McpEndpoint(self._lease, writable=self._writable)
                await endpoint.open()
                self._endpoint = endpoint
        await self._endpoint(scope, receive, send)

    def _lease(self, scope: Scope, name: str | None) -> AbstractAsyncContextManager[WorkspaceView]:
        principal: Principal = scope[_PRINCIPAL]
        return self._workspaces.lease(principal, name)

    async def _close(self) -> None:
        async with self._making:
            if self._endpoint is not None:
                await self._endpoint.close()

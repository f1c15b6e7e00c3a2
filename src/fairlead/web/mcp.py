"""The workspace tools over the Model Context Protocol: on the node at `/mcp`, and on stdio.

The streamable HTTP transport is used without sessions, so that any worker of a node may answer any
request (Model Context Protocol, "Transports"). Its users import this module late, because the SDK
takes half a second.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import FairleadError
from fairlead.workspace.tools import Call, Opened, Tool, checked_call, tools

PATH = "/mcp"
MAX_BODY = 20 * 1024 * 1024
"""Bytes of a request: a file to be written, as a string of JSON."""
START_DEADLINE = 10.0
"""Seconds."""
INSTRUCTIONS = (
    "Files, text search and a map of the repository, from cache and always current. "
    "Begin with repo_map to see where things are; read and search only what it points to."
)

Lease = Callable[[Any, str | None], AbstractAsyncContextManager[Opened]]
"""Who asks (an ASGI scope; None on stdio) and which workspace, to that workspace while it is used.

Raises `FairleadError` where there is none of that name for them.
"""


def create_server(lease: Lease, *, writable: bool, several: bool) -> Server[Any]:
    """A server of the official SDK with the tools; `several`: there may be several workspaces."""
    told = [_told(tool) for tool in tools(writable=writable, several=several)]

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=told)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        scope = None if context.request is None else context.request.scope
        try:
            call = checked_call(params.name, params.arguments or {}, writable=writable)
            text, is_error = await _run(call, lease, scope), False
        except FairleadError as error:
            # For the model, which can mend what it asked for.
            text, is_error = str(error), True
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=is_error)

    return Server(
        "fairlead",
        version=version("fairlead"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _run(call: Call, lease: Lease, scope: Any) -> str:
    async with lease(scope, call.workspace) as opened:
        return await call.run(opened)


def _told(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=dict(tool.schema),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.is_read_only,
            destructive_hint=not tool.is_read_only,
            open_world_hint=False,
        ),
    )


async def serve_stdio(lease: Lease, *, writable: bool) -> None:
    """Answer on standard input and output until the input ends."""
    server = create_server(lease, writable=writable, several=False)
    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


class McpEndpoint(Resource):
    """`/mcp` as an ASGI application; who asks is checked before it is called."""

    def __init__(self, lease: Lease, *, writable: bool) -> None:
        self._lease = lease
        self._writable = writable
        self._manager: Any = None
        self._tasks = TaskOwner(log_failure)

    async def _open(self) -> None:
        server = create_server(self._lease, writable=self._writable, several=True)
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=MAX_BODY
        )
        begun = asyncio.Event()
        await self._tasks.open()
        # In a task of its own: the manager has to end in the task in which it began.
        self._tasks.spawn(self._serve(begun), "mcp")
        async with asyncio.timeout(START_DEADLINE):
            await begun.wait()

    async def _close(self) -> None:
        await self._tasks.close()

    async def _serve(self, begun: asyncio.Event) -> None:
        async with self._manager.run():
            begun.set()
            await asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request of the streamable HTTP transport."""
        if scope["method"] == "POST":
            await self._manager.handle_request(scope, receive, send)
            return
        # Without sessions there is no stream to be listened to, and nothing to be ended.
        await _refuse(send)


async def _refuse(send: Any) -> None:
    error = {"code": -32000, "message": "this server keeps no sessions: use POST"}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"allow", b"POST")]
    await send({"type": "http.response.start", "status": 405, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""The edge of a node on a socket of this process, before any upstreams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from fairlead.core.clock import SYSTEM_CLOCK
from fairlead.core.lifecycle import Resource
from fairlead.gateway.base import Upstream, UsageRecord
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.responses import ModelResponseCache
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.web.middleware import Identity, LocalIdentity
from fairlead.web.protocol import Limits, NodeProtocol
from support.node import servers_of
from support.wire import Answer, Client, client, until

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
BODY = b'{"model": "m", "messages": []}'


class EdgeServer(Resource):
    """What the edge asks of a node, listening; when it closes, nothing may be left of any client.

    Paths outside `/v1/` answer with the request's own path and body.
    """

    def __init__(
        self,
        *upstreams: Upstream,
        limits: Limits | None = None,
        identity: Identity | None = None,
        keep_alive: float = 30.0,
    ) -> None:
        self.records: list[UsageRecord] = []
        self.failures: list[dict[str, Any]] = []
        """What the loop was told of: an exception left a protocol or a callback."""
        self.cache = ModelResponseCache(CacheOptions())
        self.gateway = Gateway(
            upstreams,
            self.cache,
            self.records.append,
            balancer=SessionAwareLoadBalancer(servers_of(upstreams)),
            max_body_bytes=(limits or Limits()).max_body_bytes,
        )
        self.identity = identity or LocalIdentity(None)
        self.limits = limits or Limits()
        self.clock = SYSTEM_CLOCK
        self.buffered = 0
        self.draining = False
        self.state = ServerState()
        self.url = ""
        self._keep_alive = keep_alive
        self._server: asyncio.Server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI: an echo."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode() + b" " + body})

    @property
    def connection(self) -> NodeProtocol:
        """The only connection that is open."""
        (connection,) = self.state.connections
        assert isinstance(connection, NodeProtocol)
        return connection

    def make_protocol(self) -> NodeProtocol:
        """The protocol of one more connection, configured as a node's."""
        config = uvicorn.Config(
            self,
            http=NodeProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=self._keep_alive,  # type: ignore[arg-type]  # as in web/server.py
        )
        return NodeProtocol(config, self.state, {})

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        await self.cache.open()
        await self.gateway.open()
        self._server = await loop.create_server(self.make_protocol, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"

    async def _close(self) -> None:
        self._server.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        await self.settle()
        await self.gateway.close()
        await self.cache.close()
        assert self.failures == []

    async def settle(self) -> None:
        """Return when every connection has ended; then nothing may be held or under way."""
        await until(lambda: not self.state.connections, "the connections end")
        await until(lambda: not self.state.tasks, "the tasks end")
        await until(lambda: not len(self.cache._tasks), "the cache's tasks end")
        assert self.buffered == 0
        assert self.gateway.active == 0

    def connect(self) -> Any:
        """A client of it, for the length of a block."""
        return client(self.url)


def told(answer: Answer) -> str:
    """The message of an error in any API's shape; fails where it is in none, or names no id."""
    assert answer.header(b"x-request-id")
    error = json.loads(answer.body)["error"]
    assert error["type"]
    message: str = error["message"]
    return message


async def raw(url: str, *pieces: bytes) -> bytes:
    """Send `pieces` one after the other; everything that comes until the connection ends."""
    opened = await Client.connect(url)
    try:
        for piece in pieces:
            await opened.send(piece)
        async with asyncio.timeout(10):
            return await opened._reader.read()
    except ConnectionError:
        return b""
    finally:
        await opened.close()


def statuses(data: bytes) -> Sequence[int]:
    """The statuses of the answers in `data`, whose bodies hold no status line."""
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]

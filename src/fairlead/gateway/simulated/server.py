"""The simulated upstream on a socket of its own, inside the running event loop."""

from __future__ import annotations

import asyncio
import os

import uvicorn
from uvicorn.server import ServerState

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import ClosedError, ConfigurationError
from fairlead.gateway.simulated.app import SimulatedApp
from fairlead.gateway.simulated.options import SimulatedOptions
from fairlead.gateway.simulated.protocol import SimulatedProtocol
from fairlead.gateway.simulated.script import Script, load_script
from fairlead.gateway.simulated.statistics import Statistics

_BACKLOG = 4_096
_KEEP_ALIVE = 75
_CLOSING = 2.0


class SimulatedServer(Resource):
    """Serves a `SimulatedApp` at `url` while it is open.

    Port 0 takes a free one. `open` raises `ConfigurationError` where the script is wrong or the
    address cannot be used. It touches neither signals nor logging.
    """

    def __init__(
        self,
        options: SimulatedOptions | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.options = options or SimulatedOptions()
        self._address = (host, port)
        self._clock = clock
        self._app: SimulatedApp | None = None
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    @property
    def url(self) -> str:
        """Where it listens, without a path; raises `ClosedError` before it was opened."""
        if self._server is None or not self._server.sockets:
            raise ClosedError
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def statistics(self) -> Statistics:
        """Counts since it was opened; raises `ClosedError` before."""
        if self._app is None:
            raise ClosedError
        return self._app.statistics()

    async def _open(self) -> None:
        path = self.options.script
        script = load_script(path) if path is not None else Script()
        self._app = SimulatedApp(self.options, script, self._clock)
        self._state = ServerState()
        config = _config(self._app)
        host, port = self._address
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: SimulatedProtocol(config, self._state, {}),
                host,
                port,
                backlog=_BACKLOG,
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            fix = f"cannot listen there ({reason}); choose another host or port"
            raise ConfigurationError("address", f"{host}:{port}", fix) from None

    async def _close(self) -> None:
        """Stop listening, then close every connection: clients see their streams break off."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._state.connections):
            connection.transport.close()
        await self._ended()
        for connection in list(self._state.connections):
            # Its client does not read what was sent: closing gently would wait for that.
            connection.transport.abort()
        await self._ended()

    async def _ended(self) -> None:
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=_CLOSING)

    def __repr__(self) -> str:
        return f"<SimulatedServer {self.url if self._server else 'closed'}>"


def _config(app: SimulatedApp) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=SimulatedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        # None and True leave the process's loggers alone; the protocol turns the access log off.
        log_config=None,
        access_log=True,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
    )
    config.load()
    return config

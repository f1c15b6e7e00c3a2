"""uvicorn's HTTP/1.1 protocol with the limits that it lacks, and without its access log."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fairlead.gateway.simulated.app import DISCONNECT

_HEAD_SECONDS = 10.0
_HEAD_BYTES = 65_536


class SimulatedProtocol(HttpToolsProtocol):
    """A request's head must come within 10 s and 64 KiB (and one read).

    The application may close the connection (`DISCONNECT`).
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False
        self._heads = 0
        self._head_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._head_has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse `data`; a head that goes on and on is answered with 400 and the end.

        The parser hands out a field only when it is whole, so bytes are counted here. The read in
        which a head begins is not: it may hold the end of another request.
        """
        heads = self._heads
        super().data_received(data)
        if self._head_deadline is None or heads != self._heads or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > _HEAD_BYTES:
            self.send_400_response("Request line and headers are too large.")

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        self.scope["extensions"] = {DISCONNECT: {"close": self.transport.close}}
        self._heads += 1
        self._head_bytes = 0
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head_has_come()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_has_come()
        self._head_deadline = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _head_has_come(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

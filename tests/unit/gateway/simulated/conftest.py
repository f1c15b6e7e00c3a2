"""The application driven in process: no socket, a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fairlead.gateway.simulated import Script, SimulatedOptions
from fairlead.gateway.simulated.app import DISCONNECT, SimulatedApp
from fairlead.testing import ManualClock


class Exchange:
    """One request to the application and what it answers."""

    def __init__(
        self, app: SimulatedApp, method: str, path: str, body: bytes, headers: Any
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False
        self._gone = asyncio.Event()
        self._body: bytes | None = body
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "extensions": {DISCONNECT: {"close": self._close}},
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(dict(message))

    def _close(self) -> None:
        self.closed = True
        self.leave()

    def leave(self) -> None:
        """The client goes away."""
        self._gone.set()

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[str]:
        return [event for event in self.body.decode().split("\n\n") if event]


class Client:
    """Makes exchanges with one application."""

    def __init__(self, app: SimulatedApp, clock: ManualClock) -> None:
        self.app, self.clock = app, clock

    async def start(
        self, path: str, body: object = None, method: str = "POST", **headers: str
    ) -> Exchange:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange = Exchange(self.app, method, path, raw, named)
        # Let it come to its first wait, so that time may pass for it.
        for _ in range(20):
            await asyncio.sleep(0)
        return exchange

    async def ask(
        self, path: str, body: object = None, method: str = "POST", **headers: str
    ) -> Exchange:
        exchange = await self.start(path, body, method, **headers)
        async with asyncio.timeout(10):
            await exchange.task
        return exchange


@pytest.fixture
def client() -> Callable[..., Client]:
    """Makes a client of an application with these options; without delays unless asked for."""

    def make(script: Script | None = None, **options: Any) -> Client:
        quick = {"ttft": 0.0, "prefill": 0.0, "tokens_per_second": 0.0} | options
        clock = ManualClock()
        return Client(SimulatedApp(SimulatedOptions(**quick), script, clock), clock)

    return make

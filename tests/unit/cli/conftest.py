"""A small HTTP server whose answers a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest


class Upstream:
    """Answers every request with `raw`, after noting its head; empty: closes the connection.

    A request whose head holds a text in `routes` has an answer of its own. With `hasty` it answers
    before anything was asked.
    """

    def __init__(self) -> None:
        self.hasty = False
        self.raw = b""
        self.routes: dict[str, bytes] = {}
        self.heads: list[str] = []
        self.port = 0

    def answer(self, status: int, body: str = "", *, at: str = "", **headers: str) -> None:
        """Answer so from now on: what holds `at` in its head, or everything."""
        fields = "".join(
            f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()
        )
        head = f"HTTP/1.1 {status} X\r\n{fields}content-length: {len(body)}\r\n\r\n"
        raw = (head + body).encode()
        if at:
            self.routes[at] = raw
        else:
            self.raw = raw

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            if self.hasty:
                writer.write(self.raw)
                await writer.drain()
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                found = (raw for text, raw in self.routes.items() if text in self.heads[-1])
                raw = next(found, self.raw)
                if not raw:
                    break
                writer.write(raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has what it wanted
        finally:
            writer.close()


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `fairlead.toml` of whoever runs the tests is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Listening on a free port of this machine."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.handle, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()
    await server.wait_closed()

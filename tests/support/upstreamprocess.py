"""`fairlead upstream` as a real process that can be killed and come back on the same port."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from types import TracebackType
from typing import Any, Self

import msgspec

from support.wire import ask, post


class UpstreamProcess:
    """A simulated model server of its own process; to be used in an `async with`."""

    def __init__(self, *arguments: str) -> None:
        self.port = 0
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens, or listened before it was killed."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen: on a free port at first, later on the same one."""
        command = (sys.executable, "-m", "fairlead", "upstream", "--port", str(self.port))
        self._process = await asyncio.create_subprocess_exec(
            *command, *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(15):
            said = (await self._process.stdout.readuntil(b"Ctrl+C.\n")).decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert found is not None, said
        self.port = int(found[1])

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def statistics(self) -> dict[str, Any]:
        """What its `/stats` says."""
        answer = await ask(self.url, post("/stats", b"", method="GET"))
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            async with asyncio.timeout(10):
                await process.communicate()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end(signal.SIGTERM)

"""One request after the other on one connection: what a single caller waits for an answer."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httptools

from benchmarks.machine import BenchmarkError

_DEADLINE = 30.0


@dataclass(frozen=True)
class Answer:
    """A complete answer; `seconds` from before the first byte sent to after the last received."""

    status: int
    body: bytes
    seconds: float


class _Parsed:
    """What httptools tells of an answer."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


class Exchange:
    """A kept-alive connection with blocking calls: nothing else runs that could delay it."""

    def __init__(self, url: str) -> None:
        """`url` is the server's base: `http://127.0.0.1:8100`."""
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._address, timeout=_DEADLINE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(self, request: bytes) -> Answer:
        """Send a whole request and wait for the whole answer.

        Raises `BenchmarkError` where it does not come within 30 s, or the connection breaks.
        """
        assert self._socket is not None, "used outside of its block"
        parsed = _Parsed()
        parser = httptools.HttpResponseParser(parsed)
        began = time.perf_counter()
        try:
            self._socket.sendall(request)
            while not parsed.complete:
                data = self._socket.recv(1_048_576)
                if not data:
                    raise BenchmarkError("the connection was closed before the answer was complete")
                parser.feed_data(data)
        except (OSError, httptools.HttpParserError) as error:
            raise BenchmarkError(f"no answer: {type(error).__name__} {error}") from error
        seconds = time.perf_counter() - began
        return Answer(parser.get_status_code(), b"".join(parsed.body), seconds)


def answers(url: str, path: str) -> bool:
    """Whether a GET of `path` is answered 200 now: the readiness probe of every server here."""
    host = urlsplit(url).netloc
    request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n\r\n".encode()
    try:
        with Exchange(url) as exchange:
            return exchange.send(request).status == 200
    except (OSError, BenchmarkError):
        return False

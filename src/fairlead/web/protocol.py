"""The server's edge: HTTP/1.1 from sockets to `ModelRequest`s, and answers back.

uvicorn's httptools protocol, with two additions. Requests under `/v1/` go straight to the gateway,
without an ASGI scope, queue and event per message (see docs/decisions). And everything that a
client may send has a deadline and a bound (`Limits`). All other paths are ASGI as usual.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead.core.clock import Clock
from fairlead.core.identity import Principal
from fairlead.errors import CapacityError, FairleadError, RequestError
from fairlead.gateway.gateway import Gateway
from fairlead.web.exchange import ModelExchange
from fairlead.web.middleware import Identity

_NOBODY = Principal(tenant="", user="")
_log = logging.getLogger("fairlead.web")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what clients may send, and how slowly. Bytes and seconds."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_buffered_bytes: int = 512 * 1024 * 1024
    """Request bodies of all connections together."""
    max_header_bytes: int = 64 * 1024
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    write_timeout: float = 60.0
    discard_timeout: float = 5.0
    """How long the rest of a refused request is taken in, so that the client can read why."""


class Edge(Protocol):
    """The application object that uvicorn is given: ASGI, and what `/v1/` needs beside it."""

    gateway: Gateway
    identity: Identity
    limits: Limits
    clock: Clock
    buffered: int
    """Bytes of request bodies held now, over all connections."""


class NodeProtocol(HttpToolsProtocol):
    """One client connection."""

    cycle: Any
    """The request being received: a `ModelExchange`, uvicorn's own cycle, or None."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.edge: Edge = self.app
        self._answering: Any = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._discarding = False
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """`Date`, renewed each second by the server."""
        return self.server_state.default_headers

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Until the first byte it counts as an idle kept-alive connection."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was being received or answered."""
        self._clear_deadline()
        for cycle in {self.cycle, self._answering}:
            if isinstance(cycle, ModelExchange):
                cycle.client_gone()
        if isinstance(self.cycle, ModelExchange):
            self.cycle = None
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; then see to it that what is still missing has a deadline."""
        if self._discarding:
            return
        if self._in_head or not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._discarding or self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > self.edge.limits.max_header_bytes:
            self._refuse_head()
        elif self._in_head:
            self._set_deadline(self.edge.limits.header_timeout)
        elif self._in_body:
            self._set_deadline(self.edge.limits.body_timeout)
        else:
            self._clear_deadline()
            self._head_bytes = 0

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins; whether it needs an ASGI scope is known when its head has come."""
        self._in_head = True
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head (or of a trailer, which nobody reads)."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head has come: requests under `/v1/` go their own way."""
        self._in_head, self._in_body = False, True
        self._body_bytes = 0
        self._clear_deadline()
        # What came with the head may belong to a body: only a large piece is worth measuring.
        if self._head_bytes > self.edge.limits.max_header_bytes and self._head_is_too_large():
            self._refuse_head()
            return
        self._head_bytes = 0
        url = httptools.parse_url(self.url)
        if url.path is None or not url.path.startswith(b"/v1/"):
            self._hand_to_asgi()
            return
        method = self.parser.get_method()
        exchange = ModelExchange(self, method, url.path, url.query or b"", self.headers)
        exchange.http_1_0 = self.parser.get_http_version() == "1.0"
        # After an upgrade offer the parser stops at this request's end, so the connection ends too.
        exchange.keep_alive = self.parser.should_keep_alive() and not self.parser.should_upgrade()
        exchange.keep_alive = exchange.keep_alive and not exchange.http_1_0
        self.cycle = exchange
        self._check_promises(exchange)

    def _hand_to_asgi(self) -> None:
        # The base makes the scope at the message's beginning, and empties what came since.
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _head_is_too_large(self) -> bool:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
        return size > self.edge.limits.max_header_bytes

    def on_body(self, body: bytes) -> None:
        """A piece of a body, under its limits."""
        exchange, limits = self.cycle, self.edge.limits
        self._body_bytes += len(body)
        if not isinstance(exchange, ModelExchange):
            if self._body_bytes > limits.max_body_bytes:
                self.transport.close()
            elif not self._discarding:
                super().on_body(body)
            return
        if exchange.response_complete:
            return
        exchange.body.append(body)
        exchange.size += len(body)
        self.edge.buffered += len(body)
        if exchange.size > limits.max_body_bytes:
            self._refuse(exchange, _too_large(limits))
        elif self.edge.buffered > limits.max_buffered_bytes:
            error = CapacityError("too many request bodies are being received: try again")
            self._refuse(exchange, error)

    def on_message_complete(self) -> None:
        """A request is whole: answer it, or queue it behind the one before it."""
        self._in_body = False
        exchange = self.cycle
        if not isinstance(exchange, ModelExchange):
            super().on_message_complete()
            return
        if exchange.response_complete:
            return
        exchange.received = True
        if self._answering is not None and not self._answering.response_complete:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # as a cycle
        else:
            self._begin(exchange)

    # ---- answering

    def _start_asgi_task(self, cycle: Any, app: ASGI3Application) -> None:
        # The base calls this for a request that has waited in the pipeline, too.
        if isinstance(cycle, ModelExchange):
            self._begin(cycle)
        else:
            self._answering = cycle
            super()._start_asgi_task(cycle, app)

    def _begin(self, exchange: ModelExchange) -> None:
        self._answering = exchange
        try:
            request = exchange.request(self.edge.identity.identify(exchange.headers))
            rest = self.edge.gateway.handle(request, exchange)
        except FairleadError as error:
            self._refuse(exchange, error)
            return
        except Exception as error:  # noqa: BLE001 - the rim: a fault of ours becomes a 500, not a dropped connection
            self._failed(exchange, error)
            return
        if rest is not None:
            task = self.loop.create_task(rest)
            exchange.task = task
            self.tasks.add(task)
            task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        exchange = self._answering
        if error is not None and isinstance(exchange, ModelExchange) and exchange.task is task:
            self._failed(exchange, error)

    def answered(self, exchange: ModelExchange) -> None:
        """Called by an exchange whose answer is finished or broken off."""
        if self._discarding:
            return
        if not exchange.keep_alive or not exchange.received:
            self.transport.close()
        self.on_response_complete()

    # ---- refusing

    def _check_promises(self, exchange: ModelExchange) -> None:
        """Refuse a body that is declared too large before it comes; else ask for it."""
        fields = dict(exchange.headers)
        if int(fields.get(b"content-length", 0)) > self.edge.limits.max_body_bytes:
            self._refuse(exchange, _too_large(self.edge.limits))
        elif fields.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, exchange: ModelExchange, error: FairleadError) -> None:
        """Answer with an error; what the client still sends is discarded for a while."""
        if not exchange.received:
            self._discard()
        request = exchange.request(_NOBODY)
        self.edge.gateway.refuse(request, exchange, error)

    def _failed(self, exchange: ModelExchange, error: BaseException) -> None:
        _log.error("a request to %s failed", exchange.path.decode("latin-1"), exc_info=error)
        if exchange.closed:
            return
        if exchange.begun:
            exchange.abort()
        else:
            self._refuse(exchange, RequestError(500, "an internal error: see this node's log"))

    def _refuse_head(self) -> None:
        self._discard()
        text = b"The header fields are larger than this server takes.\n"
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
            b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
        )

    def _discard(self) -> None:
        # Closing while the client still sends would reset the connection under the answer.
        self._discarding = True
        self._set_deadline(self.edge.limits.discard_timeout)

    # ---- deadlines

    def _set_deadline(self, seconds: float) -> None:
        if self._discarding:
            self._clear_deadline()
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        exchange = self.cycle
        receiving = isinstance(exchange, ModelExchange) and not exchange.response_complete
        if self._in_body and receiving and not self._discarding:
            self._refuse(exchange, RequestError(408, "the body came too slowly", code="timeout"))
        else:
            self.transport.close()


def _too_large(limits: Limits) -> RequestError:
    megabytes = limits.max_body_bytes / 1_048_576
    return RequestError(413, f"the body is larger than {megabytes:g} MiB: send less")

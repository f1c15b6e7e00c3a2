"""The server's edge: HTTP/1.1 from sockets to `ModelRequest`s, and answers back.

uvicorn's httptools protocol, with two additions. Requests under `/v1/` go straight to the gateway,
without an ASGI scope, queue and event per message (see docs/decisions). And everything that a
client may send has a deadline and a bound (`Limits`). All other paths are ASGI as usual.

This is longer than most files here: a connection is one state machine, and its parts (parsing,
order of answers, refusals, deadlines) read and write the same few fields.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fairlead.core.clock import Clock
from fairlead.core.identity import Principal
from fairlead.core.ids import request_id
from fairlead.errors import CapacityError, FairleadError, RequestError
from fairlead.gateway.gateway import Gateway
from fairlead.web.exchange import ModelExchange
from fairlead.web.middleware import Identity

_UPGRADE_FIELDS = frozenset({b"upgrade", b"http2-settings"})
_HEAD_TOO_LARGE = "the header fields are larger than this server takes"
_MANY_WAITING = 16
"""Requests behind an unfinished answer at which no more is read. While reading is paused, a client
that goes away is not noticed, so it is not done for one or two."""
_MAX_WAITING = 256
"""Those that one read may bring all the same; the connection of a client that sends more ends."""
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
        self._owes_continue = False
        self._discarding = False
        self._lingering = False
        self._refusal: Callable[[], None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None

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
        self._clear_flush()
        self._refusal = None
        for cycle in {self.cycle, self._answering, *(waiting for waiting, _ in self.pipeline)}:
            if isinstance(cycle, ModelExchange):
                cycle.client_gone()
            elif cycle is not None:
                _disconnect(cycle)
        if isinstance(self.cycle, ModelExchange):
            self.cycle = None
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; then see to it that what is still missing has a deadline."""
        if self._discarding:
            return
        # What belongs to no body is counted: heads, and the framing and trailers of bodies.
        self._head_bytes += len(data)
        self._parse(data)
        if self._discarding or self.transport.is_closing():
            return
        if not self._in_head and not self._in_body:
            self._clear_deadline()
            self._head_bytes = 0
        elif self._head_bytes > self.edge.limits.max_header_bytes:
            self._refuse_received(RequestError(431, _HEAD_TOO_LARGE))
        elif self._in_head:
            self._set_deadline(self.edge.limits.header_timeout)
        else:
            self._set_deadline(self.edge.limits.body_timeout)

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        try:
            while rest and not self._discarding:
                rest = self._feed(rest)
        except httptools.HttpParserCallbackError as error:
            _log.error("a request could not be taken in", exc_info=error.__context__ or error)
            self._refuse_received(RequestError(500, "an internal error: see this node's log"))
        except httptools.HttpParserError:
            if not self._discarding:
                self._refuse_received(RequestError(400, "this is not valid HTTP"))

    def _feed(self, data: bytes | memoryview) -> memoryview | bytes:
        """Parse `data`; what follows a head that offers an upgrade is returned to be parsed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() == b"CONNECT":
                self._refuse_received(RequestError(400, "this server is no proxy"))
            else:
                self._decline_upgrade()
            return memoryview(data)[offer.args[0] :]
        return b""

    def _decline_upgrade(self) -> None:
        """Go on in HTTP/1.1 (RFC 9110 section 7.8): parse the head again without the offer."""
        lines = []
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(t for t in tokens if t.lower() not in _UPGRADE_FIELDS)  # noqa: PLW2901 - the same field, its offer left out
            if name not in _UPGRADE_FIELDS:
                lines.append(b"%b: %b\r\n" % (name, value))
        version = self.parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in the base
        self.parser.feed_data(b"".join([head, *lines, b"\r\n"]))

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins; whether it needs an ASGI scope is known when its head has come."""
        self._unset_keepalive_if_required()
        self._in_head = True
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head. Those of a trailer are dropped (RFC 9110 section 6.5.1)."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head has come: requests under `/v1/` go their own way."""
        if self.parser.should_upgrade() or self._discarding or self.transport.is_closing():
            return  # for an upgrade see `_decline_upgrade`: the head comes again without the offer
        self._clear_deadline()
        # What came with the head may belong to a body: only a large piece is worth measuring.
        if self._head_bytes > self.edge.limits.max_header_bytes and self._head_is_too_large():
            self._refuse_received(RequestError(431, _HEAD_TOO_LARGE))
            return
        try:
            url = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            url = None
        if url is None or url.path is None or not url.path.isascii():
            self._refuse_received(RequestError(400, "the request target is not a valid path"))
            return
        self._in_head, self._in_body = False, True
        self._head_bytes = self._body_bytes = 0
        if url.path.startswith(b"/v1/"):
            self._receive(url.path, url.query or b"")
        else:
            self._hand_to_asgi()

    def _receive(self, path: bytes, query: bytes) -> None:
        exchange = ModelExchange(self, self.parser.get_method(), path, query, self.headers)
        exchange.http_1_0 = self.parser.get_http_version() != "1.1"
        exchange.keep_alive = self.parser.should_keep_alive() and not exchange.http_1_0
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
        if len(self.pipeline) < _MANY_WAITING:
            self.flow.resume_reading()

    def _head_is_too_large(self) -> bool:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
        return size > self.edge.limits.max_header_bytes

    def on_body(self, body: bytes) -> None:
        """A piece of a body, under its limits."""
        if self._discarding:
            return
        exchange, limits = self.cycle, self.edge.limits
        self._head_bytes = 0
        self._owes_continue = False
        self._body_bytes += len(body)
        if not isinstance(exchange, ModelExchange):
            if self._body_bytes > limits.max_body_bytes:
                self._refuse_received(_too_large(limits))
            else:
                super().on_body(body)
            return
        if exchange.response_complete:
            return
        exchange.receive(body)
        self.edge.buffered += len(body)
        if exchange.size > limits.max_body_bytes:
            self._refuse_received(_too_large(limits))
        elif self.edge.buffered > limits.max_buffered_bytes:
            error = CapacityError("too many request bodies are being received: try again")
            self._refuse_received(error)

    def on_message_complete(self) -> None:
        """A request is whole: answer it, or queue it behind the one before it."""
        if self._discarding or self.parser.should_upgrade():
            return
        self._in_body = self._owes_continue = False
        exchange = self.cycle
        if not isinstance(exchange, ModelExchange):
            super().on_message_complete()
            return
        if exchange.response_complete:
            return
        exchange.received = True
        if self._is_taken:
            self._queue(exchange)
        else:
            self._begin(exchange)

    def _queue(self, exchange: ModelExchange) -> None:
        if len(self.pipeline) >= _MAX_WAITING:
            exchange.keep_alive = False
            error = CapacityError("too many requests wait on this connection: read the answers")
            self._turn_away(partial(self._refuse, exchange, error))
            return
        self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # as a cycle
        if len(self.pipeline) >= _MANY_WAITING:
            self.flow.pause_reading()

    # ---- answering

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    @property
    def _is_taken(self) -> bool:
        """Another answer has to go out first, or the client does not read those that did."""
        return self._is_answering or bool(self.pipeline) or self.flow.write_paused

    def _start_asgi_task(self, cycle: Any, app: ASGI3Application) -> None:
        # Called for requests that have waited in the pipeline, and by the base.
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
        if self._lingering:
            return
        if not exchange.keep_alive or not exchange.received:
            self.transport.close()
        self.on_response_complete()
        self._clear_flush()
        if self.transport.get_write_buffer_size():
            # The answer's end waits in the transport: a client that never reads it is dropped.
            self._expect_reading()

    def on_response_complete(self) -> None:
        """An answer is finished, by whichever way it went: the next request's turn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline or self._refusal is not None:
            # On a stack of its own: hundreds may wait, each of which is answered at once.
            self.loop.call_soon(self._serve_next)
        elif self._owes_continue:
            self._continue()
        elif not self._in_head and not self._in_body:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _serve_next(self) -> None:
        if self._is_answering or self.flow.write_paused or self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if len(self.pipeline) < _MANY_WAITING:
                self.flow.resume_reading()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            refuse, self._refusal = self._refusal, None
            # Closing while the client still sends would reset the connection under the answer.
            self._lingering = True
            self._set_deadline(self.edge.limits.discard_timeout)
            refuse()
            if self.transport.can_write_eof() and not self.transport.is_closing():
                self.transport.write_eof()

    # ---- clients that do not read

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """It has caught up: requests that had to wait for that go on."""
        super().resume_writing()
        self._clear_flush()
        if self.pipeline or self._refusal is not None:
            self.loop.call_soon(self._serve_next)

    def _expect_reading(self) -> None:
        if self._flush is None:
            self._flush = self.loop.call_later(self.edge.limits.write_timeout, self._unread)

    def _unread(self) -> None:
        self._flush = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _clear_flush(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    # ---- refusing

    def _check_promises(self, exchange: ModelExchange) -> None:
        """Refuse a body that is declared too large before it comes; else ask for it."""
        fields = dict(exchange.headers)
        if int(fields.get(b"content-length", 0)) > self.edge.limits.max_body_bytes:
            self._refuse_received(_too_large(self.edge.limits))
        elif fields.get(b"expect", b"").lower() == b"100-continue" and not exchange.http_1_0:
            if self._is_taken:
                self._owes_continue = True  # now it would land within another answer
            else:
                self._continue()

    def _continue(self) -> None:
        self._owes_continue = False
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, exchange: ModelExchange, error: FairleadError) -> None:
        """Answer with an error; it is this exchange's turn."""
        try:
            self.edge.gateway.refuse(exchange.request(_NOBODY), exchange, error)
        except Exception:  # noqa: BLE001 - the rim: nothing is left that could answer
            _log.exception("a refusal could not be sent")
            self.transport.abort()

    def _failed(self, exchange: ModelExchange, error: BaseException) -> None:
        _log.error("a request to %s failed", exchange.path.decode("latin-1"), exc_info=error)
        if exchange.closed:
            return
        if exchange.begun:
            exchange.abort()
        else:
            self._refuse(exchange, RequestError(500, "an internal error: see this node's log"))

    def _refuse_received(self, error: RequestError | CapacityError) -> None:
        """Refuse what has not come as a whole; nothing after it on this connection is read."""
        cycle = self.cycle
        if self._in_body and isinstance(cycle, ModelExchange):
            self._turn_away(partial(self._refuse, cycle, error))
            return
        if self._in_body and cycle is not None:
            if cycle.response_started:
                self.transport.close()
                return
            _disconnect(cycle)
            if self._answering is cycle:
                self._answering = None
            else:
                self.pipeline.popleft()  # it came last
        status = error.status if isinstance(error, RequestError) else 503
        self._turn_away(partial(self._refuse_plainly, status, str(error)))

    def _refuse_plainly(self, status: int, message: str) -> None:
        """Refuse what never became a request; which API it was meant for is not known."""
        text = message.encode() + b"\n"
        self.transport.write(
            b"%bconnection: close\r\nx-request-id: %b\r\n"
            b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n%b"
            % (STATUS_LINE[status], request_id().encode(), len(text), text)
        )

    def _turn_away(self, refuse: Callable[[], None]) -> None:
        """Refuse, when the answers before it are out; what the client still sends is discarded."""
        self._clear_deadline()
        self._discarding = True
        self._refusal = refuse
        if not self.pipeline:
            self._serve_next()

    # ---- deadlines

    def _set_deadline(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._lingering and self.transport.get_write_buffer_size():
            self.transport.abort()
        elif self.flow.read_paused or (self._is_answering and self._answering is not self.cycle):
            # An answer before it is not cut off for it, and what is not read cannot be late.
            self._set_deadline(self.edge.limits.body_timeout)
        elif self._in_body and not self._lingering:
            error = RequestError(408, "the body came too slowly", code="timeout")
            self._refuse_received(error)
        else:
            self.transport.close()


def _disconnect(cycle: Any) -> None:
    """Tell an ASGI application that its client takes nothing any more."""
    cycle.disconnected = True
    cycle.message_event.set()


def _too_large(limits: Limits) -> RequestError:
    megabytes = limits.max_body_bytes / 1_048_576
    return RequestError(413, f"the body is larger than {megabytes:g} MiB: send less")

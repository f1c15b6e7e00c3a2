"""The leg over aiohttp: HTTP proxies, and everything else its client can do.

About five times the CPU of the lean leg. What is aiohttp's own and stays so: it repeats idempotent
requests once by itself; header values that are not UTF-8 cannot be sent; malformed bytes take what
came in the same read with them; keep-alive follows the machine's clock. The contract suite marks
each of these.
"""

from __future__ import annotations

import io
import re
import socket
import weakref
from types import SimpleNamespace

import aiohttp
import msgspec
import multidict
import yarl
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import (
    ClosedError,
    FairleadError,
    RequestError,
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from fairlead.gateway.legs.aiohttp_reply import FOREIGN, AiohttpReply
from fairlead.gateway.legs.base import LegOptions, LegRequest, LegStatistics
from fairlead.gateway.legs.deadlines import Deadlines, Limit, sweep_interval
from fairlead.gateway.legs.head import field_lines, request_line
from fairlead.gateway.legs.origin import make_tls_context, parse_origin
from fairlead.gateway.legs.slots import Slots

_NOT_ADDED = ("user-agent", "accept", "accept-encoding", "content-type")


class AiohttpLeg(Resource):
    """`Leg` over `aiohttp.ClientSession`, with the same line of waiting callers as the lean one."""

    def __init__(self, options: LegOptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self.options = options
        self._origin = parse_origin(options)
        self._base_url = f"{self._origin.scheme}://{self._origin.authority}"
        self._deadlines = Deadlines(clock, sweep_interval(options))
        self._slots: Slots[None] = Slots(options, self._deadlines)
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._replies: set[AiohttpReply] = set()
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._requests = 0
        self._connects = 0
        self._errors = 0

    async def send(self, request: LegRequest) -> AiohttpReply:
        """Send it and return when the head of the (final) answer has come; see `Leg.send`.

        Raises `RequestError` (400) for a request that cannot be written, and `ClosedError`.
        """
        self.check_open()
        call = self._call(request)
        self._requests += 1
        try:
            if not self._slots.reserve():
                await self._slots.wait()
            try:
                response = await self._send_twice(call)
            except BaseException:
                self._slots.free()
                raise
        except UpstreamError:
            self._errors += 1
            raise
        return self._reply(response)

    def statistics(self) -> LegStatistics:
        """Connections by their open sockets, and counts now."""
        connections = sum(connection.fileno() != -1 for connection in self._sockets)
        return LegStatistics(
            connections=connections,
            idle=max(0, connections - self._slots.taken),
            waiting=self._slots.waiting,
            requests=self._requests,
            connects=self._connects,
            errors=self._errors,
        )

    # ------------------------------------------------------------------ what replies call

    def limit_read(self) -> Limit:
        """A block that ends when the answer has paused for too long."""
        return self._deadlines.limit(self.options.idle_timeout)

    def fail_read(self, error: Exception) -> FairleadError:
        """What a failure in the middle of an answer means here; counts it."""
        if not self.is_open:
            return ClosedError(f"{self!r} was closed")
        self._errors += 1
        name = self.options.name
        if isinstance(error, TimeoutError):
            seconds = self.options.idle_timeout
            return UpstreamTimeoutError(name, f"the answer paused for {seconds:g} s")
        why = f"the answer broke off or is not valid HTTP: {_told(error)}"
        return UpstreamBrokenError(name, why)

    def release(self, reply: AiohttpReply) -> None:
        """`reply` needs its connection no more."""
        self._replies.discard(reply)
        self._slots.free()

    # ------------------------------------------------------------------ sending

    def _call(self, request: LegRequest) -> _Call:
        field_lines(request.headers)  # refuses line breaks, as the lean leg does
        method, target = request_line(request).decode("ascii").split(" ", 1)
        url = yarl.URL(self._base_url + target, encoded=True)
        try:
            pairs = [(name.decode(), value.decode()) for name, value in request.headers]
        except UnicodeDecodeError as error:
            raise RequestError(400, "a header field is not UTF-8") from error
        return _Call(method, url, multidict.CIMultiDict(pairs), request.body)

    async def _send_twice(self, call: _Call) -> aiohttp.ClientResponse:
        assert self._session is not None  # noqa: S101 - narrows: open() has made both
        assert self._fresh is not None  # noqa: S101 - as above
        try:
            return await self._send_once(self._session, call)
        except _StaleError:
            return await self._send_once(self._fresh, call)

    async def _send_once(
        self, session: aiohttp.ClientSession, call: _Call
    ) -> aiohttp.ClientResponse:
        self.check_open()
        attempt = _Attempt(self.options, self._deadlines)
        try:
            async with attempt.limit:
                response = await session.request(
                    call.method,
                    call.url,
                    headers=call.headers,
                    data=_payload(call.body),
                    allow_redirects=False,
                    proxy=self.options.proxy,
                    trace_request_ctx=attempt,
                )
        except FOREIGN as error:
            raise self._failure(attempt, error) from error
        self._check_head(response)
        return response

    def _failure(self, attempt: _Attempt, error: Exception) -> Exception:
        options = self.options
        if not self.is_open:
            return ClosedError(f"{self!r} was closed")
        if attempt.reused and _nothing_came(error):
            return _StaleError()
        if not attempt.sent:
            why = f"within {options.connect_timeout:g} s"
            if not isinstance(error, TimeoutError):
                why = f"({_told(error)})"
            where = self._origin.authority
            return UpstreamUnreachableError(options.name, f"no connection to {where} {why}")
        if isinstance(error, TimeoutError):
            return UpstreamTimeoutError(options.name, "no answer came in time")
        return UpstreamBrokenError(options.name, f"no valid answer came: {_told(error)}")

    def _check_head(self, response: aiohttp.ClientResponse) -> None:
        # aiohttp bounds each field and their number, not their sum.
        size = sum(len(name) + len(value) + 4 for name, value in response.raw_headers)
        if size > self.options.max_header_bytes or not 200 <= response.status < 600:
            response.close()
            raise UpstreamBrokenError(self.options.name, "the head of its answer is not acceptable")

    def _reply(self, response: aiohttp.ClientResponse) -> AiohttpReply:
        reply = AiohttpReply(self, response, self.options.read_size)
        self._replies.add(reply)
        response.content.on_eof(reply.release)
        return reply

    # ------------------------------------------------------------------ opening and closing

    async def _open(self) -> None:
        tls = make_tls_context(self.options) if self._needs_tls() else True
        await self._deadlines.open()
        self._session = self._make_session(
            _Connector(
                ssl=tls,
                limit=self.options.max_connections,
                keepalive_timeout=self.options.keep_alive,
                socket_factory=self._make_socket,
            )
        )
        # A second try must not meet another connection that is closed already.
        self._fresh = self._make_session(
            aiohttp.TCPConnector(
                ssl=tls,
                limit=self.options.max_connections,
                force_close=True,
                socket_factory=self._make_socket,
            )
        )

    def _needs_tls(self) -> bool:
        return self._origin.secure or (self.options.proxy or "").startswith("https:")

    def _make_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        options = self.options
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_ADDED,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # ours: injected time
            read_bufsize=max(1, options.read_size // 2),  # it buffers twice this before it pauses
            max_line_size=options.max_header_bytes,
            max_field_size=options.max_header_bytes,
            trace_configs=[self._tracing()],
        )

    def _tracing(self) -> aiohttp.TraceConfig:
        async def connected(_session: object, _context: SimpleNamespace, _params: object) -> None:
            self._connects += 1

        async def reused(_session: object, context: SimpleNamespace, _params: object) -> None:
            context.trace_request_ctx.reused = True

        async def sent(_session: object, context: SimpleNamespace, _params: object) -> None:
            context.trace_request_ctx.wait_for_answer()

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(connected)
        tracing.on_connection_reuseconn.append(reused)
        tracing.on_request_headers_sent.append(sent)
        tracing.on_request_chunk_sent.append(sent)
        return tracing

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family=family, type=kind, proto=protocol)
        self._sockets.add(made)
        return made

    async def _close(self) -> None:
        self._slots.close()
        for reply in list(self._replies):
            reply.close()
        await self._deadlines.close()
        for session in (self._session, self._fresh):
            if session is not None:
                await session.close()

    def __repr__(self) -> str:
        return f"<AiohttpLeg {self.options.name} {self._slots!r}>"


class _Connector(aiohttp.TCPConnector):
    """Never hands out a connection on which something came while it was idle.

    aiohttp would take it for the answer to the next request, which may be somebody else's.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


class _Call(msgspec.Struct, frozen=True):
    """A request in aiohttp's terms."""

    method: str
    url: yarl.URL
    headers: multidict.CIMultiDict[str]
    body: bytes


class _Attempt:
    """How far one try has come; told by aiohttp's tracing."""

    __slots__ = ("_deadlines", "_first_byte_timeout", "limit", "reused", "sent")

    def __init__(self, options: LegOptions, deadlines: Deadlines) -> None:
        self.limit = deadlines.limit(options.connect_timeout)
        self.reused = False
        """It goes over a kept-alive connection, which the upstream may just have closed."""
        self.sent = False
        self._deadlines = deadlines
        self._first_byte_timeout = options.first_byte_timeout

    def wait_for_answer(self) -> None:
        """Some of the request went out: the time for the answer counts from here."""
        self.sent = True
        self.limit.deadline = self._deadlines.monotonic() + self._first_byte_timeout


class _StaleError(FairleadError):
    """A kept-alive connection turned out closed before any byte of the answer."""


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    # aiohttp writes bytes in one go and warns of it above 1 MiB; a file goes piece by piece.
    if len(body) > 1 << 20:
        return io.BytesIO(body)
    return body or None


def _told(error: Exception) -> str:
    # Callers and logs read it: aiohttp's own text of a refusing proxy holds the proxy's password.
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{error.status} {error.message}"
    return re.sub(r"//[^/@\s]*@", "//", str(error))


def _nothing_came(error: Exception) -> bool:
    # A reset may come after some bytes of the head, which aiohttp does not tell: no second try.
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else the incomplete head that had come
    return isinstance(error, aiohttp.ClientConnectionResetError)  # closed before it was written to

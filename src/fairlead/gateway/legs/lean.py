"""The lean leg: a pooled HTTP/1.1 client on httptools and asyncio transports, the default.

A request costs one write, one future and no task, timer or queue; what it leaves out is proxies
(see `aiohttp.AiohttpLeg`), redirects, cookies, decompression and HTTP/2.
"""

from __future__ import annotations

import asyncio
import ssl

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import ClosedError, FairleadError, UpstreamError, UpstreamUnreachableError
from fairlead.gateway.legs.base import LegOptions, LegRequest, LegStatistics
from fairlead.gateway.legs.connection import Connection, Wiring
from fairlead.gateway.legs.deadlines import Deadlines, sweep_interval
from fairlead.gateway.legs.head import HeadWriter
from fairlead.gateway.legs.origin import make_tls_context, parse_origin
from fairlead.gateway.legs.reply import LeanReply
from fairlead.gateway.legs.slots import Slots


class LeanLeg(Resource):
    """`Leg` over its own connections; the most recently used idle one is used first."""

    def __init__(self, options: LegOptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self.options = options
        self._origin = parse_origin(options)
        self._head = HeadWriter(self._origin)
        self._tls: ssl.SSLContext | None = None
        self._deadlines = Deadlines(clock, sweep_interval(options))
        self._slots: Slots[Connection] = Slots(options, self._deadlines)
        self._wiring = Wiring(
            options=options,
            deadlines=self._deadlines,
            slots=self._slots,
            buffer=memoryview(bytearray(options.read_size)),
            connections=set(),
        )

    async def send(self, request: LegRequest) -> LeanReply:
        """Send it and return when the head of the (final) answer has come; see `Leg.send`.

        Raises `RequestError` (400) for a request that cannot be written, and `ClosedError`.
        """
        self.check_open()
        head = self._head.write(request)
        self._wiring.requests += 1
        try:
            connection = self._slots.take()
            if connection is None and not self._slots.reserve():
                connection = await self._slots.wait()
            return await self._exchange(connection, head, request)
        except UpstreamError:
            self._wiring.errors += 1
            raise

    def statistics(self) -> LegStatistics:
        """Connections (those being made included) and counts now."""
        slots, wiring = self._slots, self._wiring
        return LegStatistics(
            connections=slots.taken,
            idle=slots.idle,
            waiting=slots.waiting,
            requests=wiring.requests,
            connects=wiring.connects,
            errors=wiring.errors,
        )

    async def _exchange(
        self, connection: Connection | None, head: bytes, request: LegRequest
    ) -> LeanReply:
        # The slot is this coroutine's until the head of an answer has come, then the
        # connection's: exactly one of them gives it back.
        reply: LeanReply | None = None
        try:
            if connection is None or not connection.usable:
                connection = await self._replace(connection)
            head_only = request.method == b"HEAD"
            reply = connection.start(head, request.body, head_only=head_only)
            await reply.wait()
            if reply.stale:
                connection = await self._replace(connection)
                reply = connection.start(head, request.body, head_only=head_only)
                await reply.wait()
            if not reply.status:
                raise reply.error or ClosedError()
        except BaseException:
            if reply is not None and reply.status:
                reply.close()
            else:
                self._give_up(connection)
            raise
        return reply

    def _give_up(self, connection: Connection | None) -> None:
        if connection is not None:
            connection.discard()
        self._slots.free()

    async def _replace(self, connection: Connection | None) -> Connection:
        """A new connection in the slot of `connection`, which was closed by the upstream."""
        if connection is not None:
            connection.discard()
        fresh = Connection(self._wiring)
        try:
            await self._connect(fresh)
        except BaseException:
            fresh.discard()
            raise
        self._wiring.connects += 1
        return fresh

    async def _connect(self, connection: Connection) -> None:
        self.check_open()
        origin, seconds = self._origin, self.options.connect_timeout
        where = origin.authority
        try:
            async with self._deadlines.limit(seconds):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    origin.host,
                    origin.port,
                    ssl=self._tls,
                    server_hostname=origin.host if origin.secure else None,
                )
        except TimeoutError as error:
            raise self._unreachable(f"no connection to {where} within {seconds:g} s") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name DNS cannot express
            raise self._unreachable(f"no connection to {where}: {error}") from error
        self.check_open()

    def _unreachable(self, message: str) -> FairleadError:
        if not self.is_open:
            return ClosedError(f"{self!r} was closed")
        return UpstreamUnreachableError(self.options.name, message)

    async def _open(self) -> None:
        if self._origin.secure:
            self._tls = make_tls_context(self.options)
        await self._deadlines.open()

    async def _close(self) -> None:
        self._slots.close()
        for connection in list(self._wiring.connections):
            connection.fail(ClosedError(f"{self!r} was closed"))
        await self._deadlines.close()

    def __repr__(self) -> str:
        return f"<LeanLeg {self.options.name} {self._slots!r}>"

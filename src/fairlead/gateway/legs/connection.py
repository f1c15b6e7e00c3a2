"""One HTTP/1.1 connection to an upstream: bytes in, an answer out (RFC 9112)."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import msgspec

from fairlead.errors import (
    ClosedError,
    FairleadError,
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
)
from fairlead.gateway.legs.base import Headers, LegOptions
from fairlead.gateway.legs.deadlines import NEVER, Deadlines
from fairlead.gateway.legs.head import ends_with_connection
from fairlead.gateway.legs.reply import LeanReply
from fairlead.gateway.legs.slots import Slots

_JOIN_BELOW = 65_536
"""Smaller bodies are copied behind their head: one `write(2)` is cheaper than a vector."""


STALE_WITHIN = 1.0
"""Seconds after a request within which a silent close means that the connection was stale."""


class Wiring(msgspec.Struct):
    """What the connections of one leg share."""

    options: LegOptions
    deadlines: Deadlines
    slots: Slots[Connection]
    buffer: memoryview
    """`read_size` bytes that every read of every connection goes through: it is parsed before the
    loop turns to another socket, so one buffer serves them all and bounds each read."""
    connections: set[Connection]
    connects: int = 0
    requests: int = 0
    errors: int = 0


class Connection(asyncio.BufferedProtocol):
    """A transport's protocol and a parser's callbacks, serving one answer at a time.

    Until the head of an answer has come its slot belongs to the coroutine that sent the request;
    from then on to the connection, which gives it back when the answer has ended.
    """

    __slots__ = (
        "_extra",
        "_head_bytes",
        "_head_only",
        "_headers",
        "_informational",
        "_loop",
        "_over",
        "_parser",
        "_reply",
        "_reusable",
        "_transport",
        "_unsent",
        "_used",
        "_wiring",
        "closed",
        "deadline",
    )

    _transport: asyncio.Transport
    _headers: Headers
    _over: bool
    _extra: bool
    _reusable: bool
    _head_bytes: int
    """Of the head; later of what comes between two pieces of the body."""

    def __init__(self, wiring: Wiring) -> None:
        self.closed = True
        self.deadline = NEVER
        self._wiring = wiring
        self._loop = asyncio.get_running_loop()
        self._reply: LeanReply | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._used = False
        self._unsent = 0
        self._informational = False
        self._begin_answer(head_only=False)

    # ------------------------------------------------------------------ what the leg calls

    @property
    def usable(self) -> bool:
        """A request may be sent on it."""
        return not self.closed and not self._transport.is_closing()

    def start(self, head: bytes, body: bytes, *, head_only: bool) -> LeanReply:
        """Send a request; the reply wakes its waiter when the head of the answer has come."""
        options = self._wiring.options
        reply = self._reply = LeanReply(self, self._loop, options.read_size)
        self._begin_answer(head_only)
        self.deadline = self._wiring.deadlines.monotonic() + options.first_byte_timeout
        if len(body) < _JOIN_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return reply

    def discard(self) -> None:
        """Close at once, whatever happens on it; its slot stays with whoever has it."""
        if not self.closed:
            self.closed = True
            self.deadline = NEVER
            self._detach()
            self._transport.abort()

    def fail(self, error: FairleadError) -> None:
        """Close it and end what it serves with `error`; an idle one leaves the idle store."""
        reply = self._reply
        self.discard()
        if reply is None:
            self._wiring.slots.drop(self)
        else:
            self._end_with(reply, error)

    def expire(self) -> None:
        """Its deadline has passed: idle too long, or an upstream that does not go on."""
        options, reply = self._wiring.options, self._reply
        if reply is None:
            self.fail(ClosedError())
        elif self._unsent and self._has_sent_some():
            self.expect_more()
        elif self._unsent:
            self.fail(UpstreamTimeoutError(options.name, "it stopped taking the request"))
        elif reply is not None and reply.status:
            seconds = options.idle_timeout
            self.fail(UpstreamTimeoutError(options.name, f"the answer paused for {seconds:g} s"))
        else:
            self.fail(UpstreamTimeoutError(options.name, "no answer came in time"))

    # ------------------------------------------------------------------ what the reply calls

    def expect_more(self) -> None:
        """Something is waited for: it must come within the idle timeout."""
        wiring = self._wiring
        self.deadline = wiring.deadlines.monotonic() + wiring.options.idle_timeout

    def resume(self) -> None:
        """The reader has taken what was buffered: go on reading."""
        if self._reply is not None and self._reply.buffered < self._wiring.options.read_size:
            self._reply.paused = False
            self._transport.resume_reading()

    def abandon(self) -> None:
        """Nobody wants the rest of the answer: close at once."""
        self.fail(ClosedError("the answer was given up"))

    # ------------------------------------------------------------------ what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base class
        # Told of every write that does not go out at once, so that the time to the first byte of
        # the answer counts from the request's last byte.
        self._transport.set_write_buffer_limits(high=0)
        self.closed = False
        self._wiring.connections.add(self)
        self._wiring.deadlines.watch(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._wiring.buffer

    def buffer_updated(self, nbytes: int) -> None:
        reply = self._reply
        if reply is None:  # bytes that nobody asked for: whatever they are, they answer nothing
            self.fail(ClosedError())
            return
        self._head_bytes += nbytes
        try:
            self._parser.feed_data(self._wiring.buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._malformed(reply, error)
            return
        if self._over:
            self._finish(reply)
        elif self._head_bytes > self._wiring.options.max_header_bytes:
            self.fail(self._broken("its header fields are too long"))
        elif reply.buffered >= self._wiring.options.read_size and not reply.paused:
            # At once: the loop would read the same socket up to 32 times before the next one.
            reply.paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        reply = self._reply
        if reply is not None and reply.status and ends_with_connection(reply.headers):
            self._reusable = False
            self._finish(reply)
        else:
            self._peer_closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_closed(exc)
        self._wiring.deadlines.forget(self)
        self._wiring.connections.discard(self)

    def pause_writing(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self.expect_more()

    def resume_writing(self) -> None:
        self._unsent = 0
        if self._reply is not None and not self._reply.status:
            seconds = self._wiring.options.first_byte_timeout
            self.deadline = self._wiring.deadlines.monotonic() + seconds

    # ------------------------------------------------------------------ what the parser calls

    def on_message_begin(self) -> None:
        if self._over:
            self._extra = True
        else:  # the head must be whole within one idle time, however slowly it trickles
            self.expect_more()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        reply, status = self._reply, self._parser.get_status_code()
        if reply is None or self._over:
            return
        if 100 <= status < 200:
            self._informational = True
            self._headers = []
            return
        if not 200 <= status < 600:
            raise self._broken(f"it answered with status {status:03}")
        if self._head_bytes > self._wiring.options.max_header_bytes:
            self._check_head_size()
        reply.status, reply.headers = status, self._headers
        self._headers = []  # trailers go there, and no further
        self._head_bytes = 0
        self.deadline = NEVER
        if self._head_only:
            self._over = True
            self._reusable = self._parser.should_keep_alive()
        reply.wake()

    def on_body(self, data: bytes) -> None:
        reply = self._reply
        if reply is None or self._over:
            self._extra = True
            return
        self._head_bytes = 0
        self.deadline = NEVER
        reply.pieces.append(data)
        reply.buffered += len(data)
        reply.wake()

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
            seconds = self._wiring.options.first_byte_timeout
            self.deadline = self._wiring.deadlines.monotonic() + seconds
        elif not self._over:
            self._over = True
            self._reusable = self._parser.should_keep_alive()

    # ------------------------------------------------------------------ within

    def _begin_answer(self, head_only: bool) -> None:
        self._head_only = head_only
        self._over = False
        self._extra = False
        self._reusable = False
        self._head_bytes = 0
        self._headers = []

    def _finish(self, reply: LeanReply) -> None:
        reply.ended = True
        self._detach()
        if self._reusable and not self._extra and not self._unsent and self.usable:
            self._keep(reply)
        else:
            self.discard()
            self._wiring.slots.free()
        reply.wake()

    def _keep(self, reply: LeanReply) -> None:
        wiring = self._wiring
        if self._head_only:  # the parser was never told of HEAD and still waits for a body
            self._parser = httptools.HttpResponseParser(self)
        if reply.paused:  # TLS: what was decrypted already comes in spite of the pause
            self._transport.resume_reading()
        self._used = True
        self.deadline = wiring.deadlines.monotonic() + wiring.options.keep_alive
        wiring.slots.give(self)

    def _peer_closed(self, error: Exception | None) -> None:
        reply, why = self._reply, f" ({error})" if error else ""
        if self.closed:
            return
        if reply is None:
            self.fail(ClosedError())
        elif self._used and not reply.status and not self._head_bytes and self._sent_just_now():
            reply.stale = True
            self.discard()
            reply.wake()
        elif reply.status:
            self.fail(self._broken(f"the answer broke off{why}"))
        else:
            self.fail(self._broken(f"it closed the connection without an answer{why}"))

    def _sent_just_now(self) -> bool:
        # An idle connection that the upstream was about to close shows at once. One that is closed
        # later had the request: sending it again could be paid for twice.
        sent = self.deadline - self._wiring.options.first_byte_timeout
        return self._wiring.deadlines.monotonic() - sent < STALE_WITHIN

    def _malformed(self, reply: LeanReply, error: Exception) -> None:
        if self._over:  # the answer is whole; what follows it is not our business
            self._reusable = False
            self._finish(reply)
        elif isinstance(error.__context__, UpstreamBrokenError):  # raised by our own callback
            self.fail(error.__context__)
        elif isinstance(error, httptools.HttpParserUpgrade):
            self.fail(self._broken("it switched protocols unasked"))
        else:
            self.fail(self._broken(f"the answer is not valid HTTP: {error}"))

    def _end_with(self, reply: LeanReply, error: FairleadError) -> None:
        if reply.error is None:
            reply.error = error
        if reply.status:
            self._wiring.slots.free()
            self._wiring.errors += isinstance(error, UpstreamError)
        reply.wake()

    def _detach(self) -> None:
        if self._reply is not None:
            self._reply.source = None
            self._reply = None

    def _check_head_size(self) -> None:
        # The read that ended the head may hold much of the body: only now is it worth counting.
        size = sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self._wiring.options.max_header_bytes:
            raise self._broken("its header fields are too long")

    def _has_sent_some(self) -> bool:
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        return self._unsent < before

    def _broken(self, message: str) -> UpstreamBrokenError:
        return UpstreamBrokenError(self._wiring.options.name, message)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "idle" if self._reply is None else "serving"
        return f"<Connection to {self._wiring.options.name} {state}>"

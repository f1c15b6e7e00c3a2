"""One request and its answer on the way to one client: relay, errors, the record at the end."""

from __future__ import annotations

from fairlead.core.clock import Clock
from fairlead.errors import CapacityError, ClosedError, FairleadError, RequestError, UpstreamError
from fairlead.gateway.base import ModelRequest, Priority, ResponseSink, Tape, Upstream, UsageRecord
from fairlead.gateway.caching import Hit, Plan, content_coding, decoded, is_event_stream
from fairlead.gateway.headers import answered
from fairlead.gateway.legs.base import Headers, LegReply
from fairlead.gateway.refusals import as_answer, error_kind
from fairlead.gateway.shapes.base import Reading, Shape

_HEAD_SAMPLE = 8 * 1024
_TAIL_SAMPLE = 16 * 1024
_WHOLE_SAMPLE = 1024 * 1024

ONE_PIECE = 65_536
"""Bytes of a stored answer that are written without asking whether the client reads."""

_NOT_FOR_FOLLOWERS = frozenset({b"set-cookie", b"x-request-id", b"request-id"})


class Sample:
    """The parts of an answer that tell its usage, kept by reference while it passes.

    Of an event stream the beginning and the end; of a plain answer all, up to 1 MiB.
    """

    def __init__(self, *, stream: bool) -> None:
        self.stream = stream
        self._head: list[bytes] = []
        self._head_size = 0
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._limit = _HEAD_SAMPLE if stream else _WHOLE_SAMPLE

    def add(self, data: bytes) -> None:
        """Remember `data` if it belongs to the sample."""
        if self._head_size < self._limit:
            self._head.append(data)
            self._head_size += len(data)
            return
        self._tail.append(data)
        self._tail_size += len(data)
        # Trimmed in bulk: at most twice the sample is held.
        if self._tail_size > 2 * _TAIL_SAMPLE and len(self._tail) > 1:
            self._trim()

    def _trim(self) -> None:
        while len(self._tail) > 1 and self._tail_size - len(self._tail[0]) >= _TAIL_SAMPLE:
            self._tail_size -= len(self._tail.pop(0))

    @property
    def is_whole(self) -> bool:
        """Everything that has passed is in it."""
        return not self._tail

    def known(self) -> bytes:
        """The beginning and the end, set apart where something between them is missing."""
        return b"".join(self._head) + (b"\n\n" if self._tail else b"") + b"".join(self._tail)

    def end(self) -> bytes:
        """The end of what has passed."""
        return b"".join(self._tail or self._head)


class Exchange:
    """The state of one request; made per request, so it holds no more than needed."""

    __slots__ = (
        "body",
        "candidates",
        "capabilities",
        "clock",
        "plan",
        "priority",
        "request",
        "shape",
        "sink",
        "started",
        "tape",
        "usage",
    )

    def __init__(
        self, request: ModelRequest, sink: ResponseSink, shape: Shape, clock: Clock
    ) -> None:
        self.request = request
        self.sink = sink
        self.shape = shape
        self.clock = clock
        self.body = b""
        """The request's body, decoded."""
        self.plan: Plan | None = None
        self.candidates: tuple[Upstream, ...] = ()
        self.priority: Priority = "normal"
        self.capabilities: tuple[str, ...] = ()
        self.started = False
        self.tape: Tape | None = None
        """Where the exchange is captured."""
        self.usage = UsageRecord(
            request_id=request.request_id,
            principal=request.principal,
            method=request.method.decode("latin-1"),
            path=request.path.decode("latin-1"),
            shape=shape.name,
            request_bytes=len(request.body),
        )

    def start(self, status: int, headers: Headers, cache_status: bytes) -> None:
        """Begin the answer; `headers` is added to."""
        fields = headers
        if not any(name == b"x-request-id" for name, _ in fields):
            fields.append((b"x-request-id", self.request.request_id.encode()))
        fields.append((b"cache-status", cache_status))
        if self.plan is not None and self.plan.key is not None:
            fields.append((b"x-fairlead-cache-key", self.plan.key.digest.hex().encode()))
        if self.usage.queued > 0:
            fields.append((b"x-fairlead-queue-ms", b"%d" % round(self.usage.queued * 1000)))
        self.started = True
        self.usage.status = status
        self.sink.start(status, fields)

    def serve_hit(self, hit: Hit, *, persistent: bool) -> None:
        """Answer from the cache, in one piece: for bodies up to `ONE_PIECE`."""
        self._start_hit(hit, persistent=persistent)
        if self.tape is not None:
            self.tape.add(hit.response.body)
        self.sink.write(hit.response.body)
        self.sink.finish()
        self.usage.response_bytes = len(hit.response.body)

    async def serve_large_hit(self, hit: Hit, *, persistent: bool) -> None:
        """Answer from the cache at the client's pace: one that does not read holds little."""
        self._start_hit(hit, persistent=persistent)
        body = memoryview(hit.response.body)
        for start in range(0, len(body), ONE_PIECE):
            piece = bytes(body[start : start + ONE_PIECE])
            self.usage.response_bytes += len(piece)
            if self.tape is not None:
                self.tape.add(piece)
            if not self.sink.write(piece):
                await self.sink.drain()
        self.sink.finish()

    def _start_hit(self, hit: Hit, *, persistent: bool) -> None:
        stored = hit.response
        body = stored.body
        headers = [
            *stored.headers,
            (b"content-length", b"%d" % len(body)),
            (b"age", b"%d" % int(hit.age)),
        ]
        self.usage.cache = "hit"
        self.usage.cache_detail = "persistent" if persistent else "memory"
        self.usage.stream = is_event_stream(stored.headers)
        if self.tape is not None:
            self.tape.head(stored.headers)
        self.start(stored.status, headers, b"fairlead; hit")
        self.usage.first_byte = self.clock.monotonic() - self.request.started

    async def relay(self, reply: LegReply, cache_status: bytes, *, shared: bool) -> Reading | None:
        """Pass an upstream's answer on as it comes; breaks are told in the API's own way.

        Returns what the answer says of itself where all of it was at hand to read.
        """
        headers = answered(reply.headers)
        if shared:
            headers = [field for field in headers if field[0] not in _NOT_FOR_FOLLOWERS]
        stream = is_event_stream(headers)
        self.usage.stream = stream
        if stream and not content_coding(headers):
            # An error event may have to follow what comes, beyond any length declared before.
            headers = [field for field in headers if field[0] != b"content-length"]
        if self.tape is not None:
            self.tape.head(reply.headers)
        sample = Sample(stream=stream)
        self.start(reply.status, headers, cache_status)
        try:
            await self._pass_on(reply, sample)
        except (UpstreamError, ClosedError) as error:
            self._break_off(error, sample, headers)
        finally:
            reading = None if shared else self._count_tokens(sample, headers)
        return reading

    async def _pass_on(self, reply: LegReply, sample: Sample) -> None:
        sink, usage, tape = self.sink, self.usage, self.tape
        data = reply.read_nowait()
        if not data and not reply.complete:
            sink.write(b"")  # the head leaves before the first byte of the body is waited for
            data = await reply.read()
        usage.first_byte = self.clock.monotonic() - self.request.started
        while data:
            usage.response_bytes += len(data)
            sample.add(data)
            if tape is not None:
                tape.add(data)
            if not sink.write(data):
                await sink.drain()
            if reply.complete:
                break
            data = reply.read_nowait() or await reply.read()
        sink.finish()

    def _break_off(self, error: FairleadError, sample: Sample, headers: Headers) -> None:
        self.usage.outcome = "upstream_broken"
        self.usage.error_kind = getattr(error, "kind", "closed")
        if sample.stream and not content_coding(headers):
            code = f"upstream_{error_kind(error)}"
            self.sink.write(self.shape.stream_error(str(error), code, sample.end()))
            self.sink.finish()
        else:
            # A plain answer has no place for an error: the client must see that it is cut short.
            self.sink.abort()

    def _count_tokens(self, sample: Sample, headers: Headers) -> Reading | None:
        body: bytes | None = sample.known()
        if sample.is_whole:
            body = decoded(headers, sample.known())
        elif content_coding(headers):
            return None
        if body is None:
            return None
        reading = self.shape.read(body, stream=sample.stream)
        self.usage.input_tokens = reading.usage.input_tokens
        self.usage.output_tokens = reading.usage.output_tokens
        return reading if sample.is_whole else None

    def refuse(self, error: FairleadError) -> None:
        """Answer with an error of our own, in the shape of the API that was called."""
        status, code, extra = as_answer(error)
        status = self.shape.error_status(status)
        param = error.param if isinstance(error, RequestError) else None
        body = self.shape.error_body(status, str(error), param, code)
        headers = [(b"content-type", b"application/json"), *extra]
        headers.append((b"content-length", b"%d" % len(body)))
        own = isinstance(error, RequestError | CapacityError | ClosedError)
        self.usage.outcome = "rejected" if own else "upstream_error"
        self.usage.error_kind = error_kind(error)
        if isinstance(error, UpstreamError):
            self.usage.upstream = error.upstream
        self.start(status, headers, self._refusal_status())
        self.sink.write(body)
        self.sink.finish()
        self.usage.response_bytes = len(body)

    def _refusal_status(self) -> bytes:
        if self.plan is not None and self.plan.key is not None:
            return b"fairlead; fwd=miss"
        return b"fairlead; fwd=bypass"

    def client_left(self) -> None:
        """Nobody takes the answer any more; 499 where none had begun (nginx's convention)."""
        self.usage.outcome = "client_closed"
        self.usage.status = self.usage.status or 499
        self.sink.abort()

    def cut_short(self) -> None:
        """The task that answers was cancelled: the client went away, or the node shuts down."""
        if self.sink.closed:
            self.client_left()
        elif not self.started:
            self.refuse(ClosedError("the node is shutting down: try again"))
        else:
            self.usage.outcome = "upstream_broken"
            self.sink.abort()

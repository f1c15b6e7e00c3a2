"""The path of one model request: identify, look up, choose, call, record."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.encoding import SUPPORTED_CODINGS, CodingError, DecodedTooLargeError, decode
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import ClientGoneError, FairleadError, RequestError
from fairlead.gateway.base import (
    Balancer,
    Capture,
    ModelRequest,
    Recorder,
    ResponseSink,
    Upstream,
)
from fairlead.gateway.caching import Hit, Plan
from fairlead.gateway.catalogue import merged_models, needs_merging
from fairlead.gateway.dispatch import Dispatcher, Job
from fairlead.gateway.exchange import ONE_PIECE, Exchange
from fairlead.gateway.headers import caller_credential, with_codings
from fairlead.gateway.keys import (
    DETERMINISTIC_PATHS,
    GENERATING_PATHS,
    MODELS_PATH,
    NO_FACTS,
    Facts,
    read_facts,
)
from fairlead.gateway.responses import ModelResponseCache
from fairlead.gateway.routing import Routes
from fairlead.gateway.sessions import PriorityHeader, capabilities_of, priority_of
from fairlead.gateway.shapes import shape_of
from fairlead.gateway.stream import Answer

_JSON_PATHS = GENERATING_PATHS | DETERMINISTIC_PATHS
_NO_CODINGS: frozenset[bytes] = frozenset()
_JUDGED_CODINGS = frozenset(coding.encode() for coding in (*SUPPORTED_CODINGS, "identity"))


class Gateway(Resource):
    """Answers model requests from the cache or by calling an upstream.

    `handle` does what needs no waiting at once; the caller runs the coroutine that it may return
    in a task, and cancels that task when the client goes away.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        cache: ModelResponseCache,
        record: Recorder,
        *,
        balancer: Balancer,
        priority_header: PriorityHeader = "any",
        max_body_bytes: int = 32 * 1024 * 1024,
        capture: Capture | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.routes = Routes(())
        self.cache = cache
        self.active = 0
        self._record = record
        self._priority_header = priority_header
        self._max_body_bytes = max_body_bytes
        self._capture = capture
        self._clock = clock
        self._passes_credentials = False
        self._tasks = TaskOwner(log_failure)
        self._dispatcher = Dispatcher(balancer, clock, on_gone=self._close_unused)
        self._use(upstreams)

    async def _open(self) -> None:
        await self._tasks.open()
        await _open_all(self.routes.upstreams)

    async def _close(self) -> None:
        await self._tasks.close()
        for part in self._dispatcher.parts().values():
            await part.close()

    async def replace(self, upstreams: Sequence[Upstream]) -> None:
        """Serve these from now on; what is on its way to others ends where it is.

        Legs and queues that no upstream uses any more are closed once they are idle.
        """
        self.check_open()
        await _open_all(upstreams)
        self._use(upstreams)

    def attempts(self) -> dict[str, int]:
        """Requests sent, by upstream, since it was configured as it is."""
        return self._dispatcher.attempts()

    def _use(self, upstreams: Sequence[Upstream]) -> None:
        self.routes = Routes(upstreams)
        self._passes_credentials = any(u.credentials == "caller" for u in upstreams)
        self._dispatcher.replace(self.routes)

    def _close_unused(self, upstream: Upstream) -> None:
        used = self._dispatcher.parts()
        for part in upstream.parts():
            if id(part) not in used and self.is_open:
                self._tasks.spawn(part.close(), f"close of upstream {upstream.name}")

    def handle(self, request: ModelRequest, sink: ResponseSink) -> Coroutine[Any, Any, None] | None:
        """Answer at once where that is possible, else return what is left to do."""
        shape = shape_of(request.path, request.headers)
        exchange = Exchange(request, sink, shape, self._clock)
        try:
            plan = self._prepare(exchange)
        except FairleadError as error:
            exchange.refuse(error)
            self._finish(exchange)
            return None
        hit = self.cache.peek(plan)
        if hit is None or len(hit.response.body) > ONE_PIECE:
            return self._respond(exchange, plan, hit)
        exchange.serve_hit(hit, persistent=False)
        self._finish(exchange)
        return None

    def refuse(self, request: ModelRequest, sink: ResponseSink, error: FairleadError) -> None:
        """Answer a request that never became whole, in the shape of the API that was called."""
        exchange = Exchange(request, sink, shape_of(request.path, request.headers), self._clock)
        exchange.refuse(error)
        self._finish(exchange)

    def _prepare(self, exchange: Exchange) -> Plan:
        """Read what decides, find the upstreams, ask the cache for its plan."""
        request, usage = exchange.request, exchange.usage
        _check_path(request.path)
        body = exchange.body = self._plain_body(request)
        facts = self._facts(request, body)
        usage.model = facts.model
        family = exchange.shape.family
        exchange.candidates = self.routes.candidates(family, facts.model)
        # Judged before the cache: what one asks in vain must not fail those who join its call.
        exchange.priority = priority_of(request, self._priority_header)
        exchange.capabilities = capabilities_of(request)
        credential = None
        if self._passes_credentials and any(u.credentials == "caller" for u in exchange.candidates):
            credential = caller_credential(request.headers)
        plan = self.cache.plan(
            request, facts, exchange.shape, body=body, caller_credential=credential
        )
        exchange.plan = plan
        if plan.key is None:
            usage.cache, usage.cache_detail = "bypass", plan.reason
            if plan.directives.only_if_cached:
                raise _not_cached()
        if self._capture is not None:
            exchange.tape = self._capture.begin(request, body)
        return plan

    def _facts(self, request: ModelRequest, body: bytes) -> Facts:
        if request.method == b"POST" and request.path in _JSON_PATHS:
            facts = read_facts(body)
            if not facts.model:
                raise RequestError(400, "model is missing: say which model", param="model")
            return facts
        if request.path.startswith(MODELS_PATH + b"/"):
            name = unquote(request.path[len(MODELS_PATH) + 1 :].decode("latin-1"))
            return Facts(model=name)
        if body[:1] == b"{":
            try:
                return read_facts(body)
            except RequestError:
                return NO_FACTS  # what this path takes is its upstream's to judge
        return NO_FACTS

    def _plain_body(self, request: ModelRequest) -> bytes:
        """The decoded body, for reading only: what goes to the upstream stays as it came."""
        coding = request.header(b"content-encoding")
        if coding is None or not request.body:
            return request.body
        if request.path not in _JSON_PATHS:
            return b""  # nothing of it is needed here
        try:
            return decode(
                request.body, coding.decode("latin-1").strip().lower(), self._max_body_bytes
            )
        except DecodedTooLargeError as error:
            raise RequestError(413, f"{error}: send less") from error
        except CodingError as error:
            raise RequestError(400, str(error), param="content-encoding") from error

    async def _respond(self, exchange: Exchange, plan: Plan, hit: Hit | None) -> None:
        self.active += 1
        try:
            if hit is not None:
                await exchange.serve_large_hit(hit, persistent=False)
            else:
                await self._answer(exchange, plan)
        except ClientGoneError:
            exchange.client_left()
        except asyncio.CancelledError:
            exchange.cut_short()
            raise
        except FairleadError as error:
            exchange.refuse(error)
        finally:
            self.active -= 1
            self._finish(exchange)

    async def _answer(self, exchange: Exchange, plan: Plan) -> None:
        if plan.key is None:
            answer = await self._call(exchange)
            exchange.usage.upstream = answer.upstream
            detail = b"fairlead; fwd=bypass; detail=" + plan.reason.encode()
            try:
                await exchange.relay(answer.reply, detail, shared=False)
            finally:
                answer.reply.close()
            return
        if hit := await self.cache.find(plan):
            await exchange.serve_large_hit(hit, persistent=True)
        elif plan.directives.only_if_cached:
            raise _not_cached()
        else:
            await self._follow(exchange, plan)

    async def _follow(self, exchange: Exchange, plan: Plan) -> None:
        follower, collapsed = self.cache.follow(plan, partial(self._call, exchange))
        exchange.usage.cache = "collapsed" if collapsed else "miss"
        try:
            await follower.head()
            exchange.usage.upstream = follower.flight.upstream
            status = _forward_status(plan, follower.status, collapsed=collapsed)
            reading = await exchange.relay(follower, status, shared=collapsed)
            if reading is not None:
                # Parsed once: the cache judges by what was found after the client was served.
                follower.flight.reading = reading
        finally:
            follower.close()

    async def _call(self, exchange: Exchange) -> Answer:
        request, candidates = exchange.request, exchange.candidates
        if request.path == MODELS_PATH and needs_merging(candidates):
            plain = with_codings(request.headers, _NO_CODINGS)
            # Anthropic lists in pages; 1,000 is the largest it gives.
            query = b"limit=1000" if exchange.shape.family == "anthropic" else request.query
            listing = msgspec.structs.replace(request, headers=plain, query=query, index=None)
            ask = partial(self._dispatcher.ask, listing)
            return await merged_models(candidates, ask, exchange.shape.family)
        if exchange.plan is not None and exchange.plan.key is not None:
            # An answer in a coding that is not read here could not be judged, so never kept.
            judged = with_codings(request.headers, _JUDGED_CODINGS)
            if judged is not request.headers:
                request = msgspec.structs.replace(request, headers=judged, index=None)
        usage = exchange.usage
        job = Job(
            request,
            exchange.body,
            exchange.shape.family,
            usage.model,
            usage,
            exchange.priority,
            exchange.capabilities,
        )
        return await self._dispatcher.dispatch(job)

    def _finish(self, exchange: Exchange) -> None:
        usage = exchange.usage
        usage.seconds = self._clock.monotonic() - exchange.request.started
        self._record(usage)
        if exchange.tape is not None:
            exchange.tape.end(usage)


async def _open_all(upstreams: Sequence[Upstream]) -> None:
    for upstream in upstreams:
        for part in upstream.parts():
            await part.open()  # one that is open already stays as it is


def _not_cached() -> RequestError:
    return RequestError(504, "not in the cache, and only-if-cached was asked", code="not_cached")


def _forward_status(plan: Plan, status: int, *, collapsed: bool) -> bytes:
    """`Cache-Status` (RFC 9211) of an answer from the upstream; `stored` is what is intended."""
    if collapsed:
        return b"fairlead; fwd=miss; collapsed"
    directives = plan.directives
    forward = b"fairlead; fwd=request" if directives.no_cache else b"fairlead; fwd=miss"
    return forward + b"; stored" if status == 200 else forward


def _check_path(path: bytes) -> None:
    # A dot segment could leave the upstream's API for whatever lies beside it, with our key.
    if b"/." in path or b"%2" in path or b"\\" in path or b"%5" in path:
        decoded = unquote(path.decode("latin-1")).replace("\\", "/")
        # Some servers cut `;parameters` off a segment before they look at it.
        if any(segment.partition(";")[0] in {".", ".."} for segment in decoded.split("/")):
            raise RequestError(400, "the path may not hold '.' or '..' segments", param="path")

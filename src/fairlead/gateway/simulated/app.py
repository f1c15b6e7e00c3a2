"""The simulated upstream as a bare ASGI application."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.errors import RequestError
from fairlead.gateway.simulated import catalogue, embeddings, failures
from fairlead.gateway.simulated.chat import Chat
from fairlead.gateway.simulated.controls import Controls, read_controls
from fairlead.gateway.simulated.delivery import Delivery, Head, Message, Receive, Reply, Send
from fairlead.gateway.simulated.incoming import ClientGoneError, Incoming, incoming, read_body
from fairlead.gateway.simulated.messages import CountRequest, Messages, count_tokens
from fairlead.gateway.simulated.model import SimulatedModel
from fairlead.gateway.simulated.options import SimulatedOptions
from fairlead.gateway.simulated.responses import Responses
from fairlead.gateway.simulated.script import Script
from fairlead.gateway.simulated.shape import Shape, decode
from fairlead.gateway.simulated.statistics import Ledger, Statistics, Visit

_SHAPES: dict[str, Shape[Any]] = {
    "/v1/chat/completions": Chat(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
}
_METHODS = {
    **dict.fromkeys(_SHAPES, "POST"),
    "/v1/embeddings": "POST",
    "/v1/messages/count_tokens": "POST",
    "/v1/models": "GET",
}
_SHOWN_PATH = 200
DISCONNECT = "fairlead.disconnect"
"""The ASGI extension by which a server lets the application close the connection."""


class SimulatedApp:
    """Serves the OpenAI and Anthropic shapes, `/healthz` and `/stats`; see the guide."""

    def __init__(
        self,
        options: SimulatedOptions,
        script: Script | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._options = options
        self._clock = clock
        self._model = SimulatedModel(options, script or Script(), clock)
        self._ledger = Ledger(frozenset(_METHODS))

    def statistics(self) -> Statistics:
        """Counts now."""
        return self._ledger.statistics(self._options.name, self._model.prefixes.statistics())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; other kinds of connection are left alone."""
        if scope["type"] != "http":
            return
        request = incoming(scope)
        extension = (scope.get("extensions") or {}).get(DISCONNECT, {})
        delivery = Delivery(receive, send, self._clock, extension.get("close"))
        if request.path == "/v1" or request.path.startswith("/v1/"):
            await self._visit(request, receive, delivery)
        else:
            await delivery.run(self._own(request))

    async def _visit(self, request: Incoming, receive: Receive, delivery: Delivery) -> None:
        request_id = f"req_{self._model.next_id()[:24]}"
        visit = Visit(request_id, request.method, request.path[:_SHOWN_PATH])
        self._ledger.begin(visit)
        outcome = "cancelled"
        try:
            reply = await self._reply(request, receive, visit)
            visit.status = reply.status
            outcome = await delivery.run(reply)
        except ClientGoneError:
            outcome = "cancelled"
        finally:
            self._ledger.end(visit, outcome)

    async def _reply(self, request: Incoming, receive: Receive, visit: Visit) -> Reply:
        family = request.family
        try:
            body = await read_body(receive, self._options.max_body_bytes)
            self._ledger.received(visit, body)
            controls = read_controls(request.headers)
            failure = self._failure(family, controls, visit.request_id)
            if failure is None:
                text = request.decoded(body, self._options.max_body_bytes)
                reply = await self._decide(request, text, controls)
                reply.headers = [*reply.headers, *self._headers(family, visit.request_id)]
                return reply
        except RequestError as error:
            failure = failures.of_request(family, error, visit.request_id)
        except RecursionError:
            too_deep = RequestError(400, "The body of the request is nested too deep.")
            failure = failures.of_request(family, too_deep, visit.request_id)
        return self._refusal(failure, family, visit.request_id)

    def _failure(self, family: str, controls: Controls, request_id: str) -> failures.Failure | None:
        """The error that options, load or the request's own wish bring about."""
        options = self._options
        status = controls.status
        if status is None and self._ledger.active > options.max_concurrency:
            status = failures.simulated_status(family, 529 if family == "anthropic" else 429)
        if status is None and options.error_rate and self._model.chance() < options.error_rate:
            status = failures.simulated_status(family, options.error_status)
        if status is None:
            return None
        wait = options.retry_after if controls.retry_after is None else controls.retry_after
        return failures.on_purpose(family, status, wait, request_id)

    async def _decide(self, request: Incoming, body: bytes, controls: Controls) -> Reply:
        path, method = request.path, "GET" if request.method == "HEAD" else request.method
        if path.startswith("/v1/models/") and method == "GET":
            name = path.removeprefix("/v1/models/")
            return _json(catalogue.get_model(self._options, request.family, name))
        if path not in _METHODS:
            raise RequestError(404, f"Invalid URL ({request.method} {path})")
        if method != _METHODS[path]:
            raise RequestError(
                405,
                f"Not allowed to {request.method} on {path}: use {_METHODS[path]}.",
                code="method_not_supported",
            )
        if path == "/v1/models":
            return _json(catalogue.list_models(self._options, request.family))
        if path == "/v1/messages/count_tokens":
            return _json(count_tokens(decode(body, CountRequest)))
        if path == "/v1/embeddings":
            return await self._embeddings(body, controls)
        return self._answer(_SHAPES[path], body, controls)

    def _answer(self, shape: Shape[Any], body: bytes, controls: Controls) -> Reply:
        request = decode(body, shape.request_type)
        answer = self._model.answer(shape.prompt(request), controls.events)
        usage = answer.usage
        self._ledger.used(usage.prompt.prompt, usage.output)
        if shape.is_stream(request):
            reply = Reply(headers=_STREAM, events=shape.events(answer, request))
        else:
            reply = _json(shape.plain(answer, request))
            # The choices of one answer are generated side by side.
            reply.tokens = usage.output // len(answer.choices)
        reply.interval = self._interval(controls)
        return self._timed(reply, usage.prompt.prompt - usage.prompt.cached, controls)

    async def _embeddings(self, body: bytes, controls: Controls) -> Reply:
        request = decode(body, embeddings.EmbeddingsRequest)
        inputs = embeddings.inputs_of(request)
        tokens = embeddings.tokens_of(inputs)
        self._ledger.used(tokens, 0)
        answer = await embeddings.embed(request, inputs, self._options.seed, self._clock)
        return self._timed(_json(answer), tokens, controls)

    def _timed(self, reply: Reply, uncached: int, controls: Controls) -> Reply:
        prefill = self._options.prefill * uncached / 1_000
        computed = self._options.ttft + prefill
        reply.delay = computed if controls.ttft is None else controls.ttft
        reply.break_after = controls.break_after
        return reply

    def _interval(self, controls: Controls) -> float:
        pace = controls.tokens_per_second
        pace = self._options.tokens_per_second if pace is None else pace
        return 1 / pace if pace else 0.0

    def _refusal(self, failure: failures.Failure, family: str, request_id: str) -> Reply:
        reply = _json(failure.body, failure.status)
        reply.outcome = "refused"
        reply.headers = [*reply.headers, *self._headers(family, request_id)]
        if failure.retry_after is not None:
            reply.headers.append((b"retry-after", b"%d" % failure.retry_after))
        if failure.status in {408, 413}:
            # The rest of the body was not read.
            reply.headers.append((b"connection", b"close"))
        return reply

    def _headers(self, family: str, request_id: str) -> Head:
        name = b"request-id" if family == "anthropic" else b"x-request-id"
        return [
            (name, request_id.encode()),
            (b"date", formatdate(self._clock.time(), usegmt=True).encode()),
            (b"x-fairlead-simulated", b"true"),
        ]

    def _own(self, request: Incoming) -> Reply:
        """`/healthz` (`/health` in vLLM's way), `/stats`, and a hint for what is not `/v1/`."""
        if request.path in {"/healthz", "/health"}:
            answer = {"status": "ok", "simulated": True, "name": self._options.name}
            reply = _json(msgspec.json.encode(answer))
        elif request.path == "/stats":
            reply = _json(msgspec.json.encode(self.statistics()))
        else:
            text = "A simulated upstream serves /v1/*, /healthz and /stats."
            reply = _json(msgspec.json.encode({"error": text}), 404)
        reply.headers = [*reply.headers, (b"x-fairlead-simulated", b"true")]
        return reply


_STREAM: Head = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]


def _json(body: bytes, status: int = 200) -> Reply:
    return Reply(headers=[(b"content-type", b"application/json")], status=status, body=body)

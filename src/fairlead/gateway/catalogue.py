"""`GET /v1/models` over several upstreams: one list of what is served here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from fairlead.core.encoding import CodingError, DecodedTooLargeError, decode
from fairlead.errors import FairleadError, UpstreamBrokenError, UpstreamTimeoutError
from fairlead.gateway.base import Upstream
from fairlead.gateway.caching import content_coding
from fairlead.gateway.legs.base import LegReply
from fairlead.gateway.stream import Answer, WholeReply

DEADLINE = 10.0
"""Seconds that one upstream may take; it is left out of the list then."""
MAX_LIST = 4 * 1024 * 1024
"""Bytes of one upstream's list."""

Send = Callable[[Upstream], Awaitable[LegReply]]


def needs_merging(upstreams: Sequence[Upstream]) -> bool:
    """Whether one upstream's own answer would not be the truth about this node."""
    return len(upstreams) > 1 or upstreams[0].models != ("*",)


async def merged_models(upstreams: Sequence[Upstream], send: Send, family: str) -> Answer:
    """The models of all `upstreams` that are routed to them, first come first listed.

    Upstreams that fail are left out; if all do, the first one's own answer is passed on where it
    gave one (a caller's refused key), else its error is raised.
    """
    results = await asyncio.gather(
        *(_models_of(upstream, send) for upstream in upstreams), return_exceptions=True
    )
    models: dict[str, dict[str, Any]] = {}
    errors: list[BaseException] = []
    for upstream, result in zip(upstreams, results, strict=True):
        if isinstance(result, BaseException):
            errors.append(result)
            continue
        for model in result:
            if any(fnmatchcase(model["id"], pattern) for pattern in upstream.models):
                models.setdefault(model["id"], model)
    unexpected = [error for error in errors if not isinstance(error, FairleadError)]
    if unexpected or len(errors) == len(upstreams):
        return _told((unexpected or errors)[0])
    body = msgspec.json.encode(_listing(list(models.values()), family))
    names = ",".join(upstream.name for upstream in upstreams)
    return Answer(names, WholeReply(200, [(b"content-type", b"application/json")], body))


class _RefusedError(UpstreamBrokenError):
    """it answered the request for its models with an error."""

    def __init__(self, upstream: str, reply: WholeReply) -> None:
        super().__init__(upstream, f"GET /v1/models answered {reply.status}")
        self.reply = reply


def _told(error: BaseException) -> Answer:
    if isinstance(error, _RefusedError):
        return Answer(error.upstream, error.reply)
    raise error


def _listing(models: list[dict[str, Any]], family: str) -> dict[str, Any]:
    if family == "openai":
        return {"object": "list", "data": models}
    first, last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
    return {"data": models, "has_more": False, "first_id": first, "last_id": last}


async def _models_of(upstream: Upstream, send: Send) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(DEADLINE):
            reply = await send(upstream)
            try:
                body = await _whole(reply, upstream)
            finally:
                reply.close()
    except TimeoutError as error:
        raise UpstreamTimeoutError(upstream.name, "no list of models came in time") from error
    if reply.status != 200:
        raise _RefusedError(upstream.name, WholeReply(reply.status, reply.headers, body))
    try:
        plain = decode(body, content_coding(reply.headers), MAX_LIST)
        data = msgspec.json.decode(plain)["data"]
        return [model for model in data if isinstance(model["id"], str)]
    except (msgspec.MsgspecError, CodingError, DecodedTooLargeError) as error:
        raise UpstreamBrokenError(upstream.name, f"its list of models: {error}") from error
    except (KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBrokenError(upstream.name, "its list of models has another form") from error


async def _whole(reply: LegReply, upstream: Upstream) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := reply.read_nowait() or (b"" if reply.complete else await reply.read()):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_LIST:
            raise UpstreamBrokenError(upstream.name, "its list of models is too long")
    return b"".join(pieces)

"""Records of the response cache, and what of an answer is kept (pure)."""

from __future__ import annotations

import msgspec

from fairlead.core.encoding import CodingError, DecodedTooLargeError, decode
from fairlead.gateway.base import CacheKey, StoredResponse
from fairlead.gateway.headers import answered
from fairlead.gateway.keys import Directives, Policy, Scope
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.shapes.base import Reading, Shape

VALUABLE_TOKENS = 4000
VALUABLE_HITS = 5
"""An entry persists with more tokens or more hits than these (`persist = "high-value"`)."""

MAX_DECODED_BODY = 64 * 1024 * 1024
"""A compressed answer is decoded to judge it, up to this size; a larger one is not kept."""

PER_ANSWER_HEADERS = frozenset(
    {
        b"age",
        b"alt-svc",
        b"cf-ray",
        b"content-length",
        b"date",
        b"request-id",
        b"retry-after",
        b"server-timing",
        b"set-cookie",
        b"x-request-id",
    }
)
"""Fields that belong to one answer and are not replayed."""

PER_ANSWER_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a `ModelResponseCache`. Sizes in bytes, times in seconds."""

    policy: Policy = "deterministic"
    policies: dict[str, Policy] = {}
    """Policy by model pattern (`fnmatch`); the first that matches wins over `policy`."""
    scope: Scope = "team"
    persist: str = "high-value"
    """`high-value`, `all` or `off`."""
    ttl: float = 3600.0
    max_entries: int = 1000
    max_bytes: int = 256 * 1024 * 1024
    max_entry_bytes: int = 16 * 1024 * 1024
    max_inflight_bytes: int = 256 * 1024 * 1024


class Plan(msgspec.Struct, frozen=True):
    """What the cache will do about one request."""

    key: CacheKey | None
    """None: the request passes by the cache, for `reason`."""
    reason: str
    directives: Directives
    max_age: float | None
    shape: Shape
    lasting: bool = True
    """Whether its answer may go to the persistent store."""


class Hit(msgspec.Struct, frozen=True):
    """A stored answer and its age in seconds."""

    response: StoredResponse
    age: float


class CacheStatistics(msgspec.Struct, frozen=True):
    """Counts since open, and what is held now."""

    memory_hits: int
    persistent_hits: int
    misses: int
    collapsed: int
    bypassed: dict[str, int]
    stored: int
    not_stored: dict[str, int]
    persisted: int
    store_failures: int
    tokens_saved: int
    entries: int
    bytes: int
    evictions: int
    expired: int
    in_flight: int
    in_flight_bytes: int


def keep(
    status: int,
    headers: Headers,
    body: bytes,
    shape: Shape,
    now: float,
    reading: Reading | None = None,
) -> StoredResponse | str:
    """The answer as it is stored, or why it is not: a word for the statistics.

    `reading` is given where the whole answer was read before.
    """
    if status != 200:
        return "status"
    reading = reading or _judge(headers, body, shape)
    if reading is None:
        return "coding"
    if not reading.complete:
        return "incomplete"
    total = reading.usage.total
    return StoredResponse(
        status=status,
        headers=[field for field in answered(headers) if not is_per_answer(field[0])],
        body=body,
        created=now,
        tokens=_estimate(headers, body) if total is None else total,
    )


def _estimate(headers: Headers, body: bytes) -> int:
    """Tokens of an answer that gives no figure: one an event, or one in four bytes."""
    if is_event_stream(headers) and not content_coding(headers):
        return body.count(b"\ndata:") + body.startswith(b"data:")
    return len(body) // 4


def is_per_answer(name: bytes) -> bool:
    """Whether a header field belongs to one answer only (quota, date, cookies)."""
    return name in PER_ANSWER_HEADERS or name.startswith(PER_ANSWER_PREFIXES)


def is_event_stream(headers: Headers) -> bool:
    """Whether the answer is `text/event-stream`."""
    for name, value in headers:
        if name == b"content-type":
            return value.lower().startswith(b"text/event-stream")
    return False


def content_coding(headers: Headers) -> str:
    """The answer's content coding in lower case; empty where there is none."""
    for name, value in headers:
        if name == b"content-encoding":
            return value.decode("latin-1").strip().lower()
    return ""


def _judge(headers: Headers, body: bytes, shape: Shape) -> Reading | None:
    plain = decoded(headers, body)
    return None if plain is None else shape.read(plain, stream=is_event_stream(headers))


def decoded(headers: Headers, body: bytes) -> bytes | None:
    """The body without its content coding; None where it cannot be read."""
    try:
        return decode(body, content_coding(headers), MAX_DECODED_BODY)
    except (CodingError, DecodedTooLargeError):
        return None

"""What makes two requests the same, and what may be cached. Pure functions and one bounded memo.

Two requests are the same when scope, API shape, path, query, the headers that decide and the body
in canonical form are equal. The canonical form sorts keys, drops white space and the fields that
only label the caller; everything else counts, known or unknown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

import msgspec
import orjson

from fairlead.core.identity import Principal
from fairlead.core.lru import Memo
from fairlead.errors import RequestError
from fairlead.gateway.base import CacheKey, ModelRequest

Policy = Literal["deterministic", "all", "off"]
Scope = Literal["user", "team", "global"]

LABEL_FIELDS = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""Top-level body fields that name the caller and cannot change the answer."""

KEY_HEADERS = (b"anthropic-version", b"anthropic-beta", b"openai-beta")
"""Headers that select API behaviour, and so count."""

CONDITIONAL_HEADERS = (b"if-none-match", b"if-modified-since", b"if-match", b"range")
"""With these the answer may be a 304 or a part, which is nobody else's answer."""

DETERMINISTIC_PATHS = frozenset({b"/v1/embeddings", b"/v1/messages/count_tokens"})
GENERATING_PATHS = frozenset({b"/v1/chat/completions", b"/v1/responses", b"/v1/messages"})
MODELS_PATH = b"/v1/models"
MODELS_TTL = 60.0
"""Seconds that `GET /v1/models` is reused."""

MAX_KEYED_BODY = 2 * 1024 * 1024
"""Larger bodies are not cached: their canonical form would hold the event loop for over 10 ms."""

MAX_STRICT_BODY = 256 * 1024
"""Of bodies that are not compact JSON: proving those unambiguous takes a slower parser."""


class Facts(msgspec.Struct, frozen=True):
    """The fields of a body that decide; the rest is skipped without being built.

    Types are open: a wrong type is the upstream's to refuse, it only makes the request
    uncacheable here. `model` alone must be text, because it decides the route.
    """

    model: Any = ""
    stream: Any = False
    temperature: Any = None
    store: Any = None
    background: Any = None
    previous_response_id: Any = None
    conversation: Any = None


NO_FACTS = Facts()
_decode_facts = msgspec.json.Decoder(Facts).decode


def read_facts(body: bytes) -> Facts:
    """The deciding fields of a JSON body; raises `RequestError` (400) naming what is wrong."""
    try:
        facts = _decode_facts(body)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"the body must be a JSON object: {error}") from error
    except msgspec.DecodeError as error:
        raise RequestError(400, f"the body is not valid JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise RequestError(400, "the body is not valid JSON: it is not UTF-8") from error
    except RecursionError as error:
        raise RequestError(400, "the body is nested too deeply: flatten it") from error
    if not isinstance(facts.model, str):
        raise RequestError(400, "model must be a string", param="model")
    return facts


class Directives(msgspec.Struct, frozen=True):
    """What a request's `Cache-Control` asks (RFC 9111 section 5.2.1) and `x-fairlead-cache`."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    switch: Literal["on", "off"] | None = None


NO_DIRECTIVES = Directives()


def read_directives(request: ModelRequest) -> Directives:
    """The request's cache directives; unknown ones are ignored, as the RFC asks."""
    control = b",".join(request.values(b"cache-control"))
    switch = request.header(b"x-fairlead-cache")
    if not control and switch is None:
        return NO_DIRECTIVES
    switch = None if switch is None else switch.strip().lower()
    if switch not in {None, b"on", b"off"}:
        raise RequestError(400, "x-fairlead-cache must be 'on' or 'off'", param="x-fairlead-cache")
    parts = {}
    for part in control.lower().split(b","):
        key, _, argument = part.partition(b"=")
        parts[key.strip()] = argument.strip(b' "')
    age = parts.get(b"max-age")
    return Directives(
        no_store=b"no-store" in parts,
        no_cache=b"no-cache" in parts,
        only_if_cached=b"only-if-cached" in parts,
        max_age=float(age) if age is not None and age.isdigit() else None,
        switch=None if switch is None else "on" if switch == b"on" else "off",
    )


def policy_for(model: str, default: Policy, overrides: Mapping[str, Policy]) -> Policy:
    """The policy of the first pattern (`fnmatch`) that matches `model`, else the default."""
    for pattern, policy in overrides.items():
        if fnmatchcase(model, pattern):
            return policy
    return default


def bypass_reason(
    request: ModelRequest,
    facts: Facts,
    directives: Directives,
    policy: Policy,
    size: int | None = None,
) -> str | None:
    """Why the answer may not be cached, as a token for `Cache-Status`'s detail, or None.

    `size` is that of the decoded body, where it is not the request's own.

    An operator's `off` is stronger than a caller's `on`. Server-side state is never cached.
    """
    if policy == "off":
        return "policy"
    if directives.switch == "off" or directives.no_store:
        return "off" if directives.switch == "off" else "no-store"
    if any(request.header(name) is not None for name in CONDITIONAL_HEADERS):
        return "conditional"
    if request.method == b"GET" and request.path == MODELS_PATH:
        return None
    generates = request.path in GENERATING_PATHS
    if request.method != b"POST" or not (generates or request.path in DETERMINISTIC_PATHS):
        return "not-cacheable"
    if generates and (reason := _server_state(facts)):
        return reason
    if generates and policy != "all" and directives.switch != "on" and not _is_zero(facts):
        return "temperature"
    size = len(request.body) if size is None else size
    return "size" if size > MAX_KEYED_BODY else None


def _is_zero(facts: Facts) -> bool:
    # type(): a bool is an int, and `"temperature": false` is no temperature.
    return type(facts.temperature) in {int, float} and facts.temperature == 0


def _server_state(facts: Facts) -> str | None:
    """The field by which the upstream would keep or use state, if any."""
    if facts.store is not None and facts.store is not False:
        return "store"
    if facts.previous_response_id is not None:
        return "previous-response-id"
    if facts.background is not None and facts.background is not False:
        return "background"
    if facts.conversation is not None:
        return "conversation"
    return None


class BodyDigests:
    """Digests of canonical bodies, remembered by the digest of the raw bytes.

    A body seen before, byte for byte, costs one SHA-256 instead of a parse and a sorted dump.
    Bounded by `max_entries`, oldest out first; holds digests only, no content.
    """

    def __init__(self, max_entries: int = 8192) -> None:
        self._digests: Memo[bytes, bytes] = Memo(max_entries)
        self._glimpsed: Memo[int, bool] = Memo(max_entries)

    def digest(self, body: bytes) -> bytes | None:
        """SHA-256 of the canonical form; None where that form is ambiguous."""
        # Most bodies never come again: those are told apart by a look at a few places, and only a
        # second one that looks the same is worth a digest of all of it (0.2 ms for 400 KB).
        glimpse = hash((len(body), body[:512], body[-512:]))
        if self._glimpsed.get(glimpse) is None:
            self._glimpsed.put(glimpse, True)
            return _canonical_digest(body)
        raw = sha256(body).digest()
        known = self._digests.get(raw)
        if known is None:
            # An empty value remembers an ambiguous body.
            known = _canonical_digest(body) or b""
            self._digests.put(raw, known)
        return known or None


def _canonical_digest(body: bytes) -> bytes | None:
    canonical = canonical_form(body) if body else b""
    return None if canonical is None else sha256(canonical).digest()


def canonical_form(body: bytes) -> bytes | None:
    """The body with sorted keys, no white space and no label fields; None where ambiguous.

    Ambiguous are duplicate keys, NaN and infinities, integers beyond 64 bits, lone surrogates and
    what is not a JSON object: parsers disagree on them, so two upstreams could read two requests.
    """
    parsed = _parse(body)
    return None if parsed is None else _canonical_dump(parsed)


def _parse(body: bytes) -> dict[str, Any] | None:
    """The object in `body`; None where it is none, or another parser could read another one."""
    try:
        parsed = orjson.loads(body)
        # Only an unambiguous, compact body comes back byte for byte; that proves it cheaply.
        if orjson.dumps(parsed) != body:
            if len(body) > MAX_STRICT_BODY:
                return None
            parsed = _strict_parse(body)
    except (ValueError, TypeError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _canonical_dump(parsed: dict[str, Any]) -> bytes | None:
    kept = {name: value for name, value in parsed.items() if name not in LABEL_FIELDS}
    try:
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None  # integers beyond 64 bits, lone surrogates, or nested too deeply


def _strict_parse(body: bytes) -> Any:
    return json.loads(
        body.decode(),  # not json's own guess of the encoding: it would accept UTF-16 as well
        object_pairs_hook=_unique,
        parse_constant=_refuse,
        parse_float=_finite,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond the range of a double")
    return number


def scope_tag(principal: Principal, scope: Scope, caller_credential: bytes | None) -> bytes:
    """The partition of the cache a principal reads and writes.

    `caller_credential` is given where the caller's own credential goes to the upstream and nobody
    verified the caller here: its digest then partitions further, so that an answer is only shared
    by those who hold the credential that it was bought with.
    """
    partition = _partition(principal.tenant, principal.user, scope)
    if caller_credential is None or principal.verified:
        return partition
    return _framed([partition, b"credential", sha256(caller_credential).digest()])


@lru_cache(maxsize=4096)
def _partition(tenant: str, user: str, scope: Scope) -> bytes:
    if scope == "global":
        return _framed([b"global"])
    if scope == "team":
        return _framed([b"team", tenant.encode()])
    return _framed([b"user", tenant.encode(), user.encode()])


def make_key(
    request: ModelRequest, shape: str, model: str, scope: bytes, body_digest: bytes
) -> CacheKey:
    """The key of a request whose canonical body has the digest `body_digest`."""
    deciding = [b"\n".join(request.values(name)) for name in KEY_HEADERS]
    codings = _normal_codings(b",".join(request.values(b"accept-encoding")))
    context = _context(
        scope, shape, request.method, request.path, request.query, *deciding, codings
    )
    return CacheKey(sha256(context + body_digest).digest(), request.principal.tenant, model)


@lru_cache(maxsize=1024)
def _context(scope: bytes, shape: str, *parts: bytes) -> bytes:
    """A digest of everything but the body; the same for most of a caller's requests."""
    return sha256(_framed([b"fairlead/1", scope, shape.encode(), *parts])).digest()


@lru_cache(maxsize=256)
def _normal_codings(value: bytes) -> bytes:
    """The codings a client takes, sorted: an entry is stored in the coding it came in."""
    if b";" not in value:
        return b",".join(sorted(part.strip() for part in value.lower().split(b",")))
    kept = []
    for part in value.lower().split(b","):
        coding, _, weight = part.partition(b";")
        if weight.strip().replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}:
            kept.append(coding.strip())
    return b",".join(sorted(kept))


def _framed(parts: list[bytes]) -> bytes:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])

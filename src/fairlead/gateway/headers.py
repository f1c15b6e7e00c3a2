"""Which header fields pass, and which are replaced (pure)."""

from __future__ import annotations

from fairlead.gateway.base import Upstream
from fairlead.gateway.legs.base import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1: fields of one connection, with those that `Connection` names."""

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"cookie"})
"""What a caller proves itself with; replaced by the upstream's key."""

# The leg sets host and length; `Expect` was answered by this node, which has the body already.
_NOT_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
_NOT_FORWARDED_OR_OURS = _NOT_FORWARDED | CREDENTIALS


_ACCOUNT = CREDENTIALS | {b"openai-organization", b"openai-project"}
"""What decides for which account an upstream answers."""


_NOT_ANSWERED = HOP_BY_HOP | {b"x-fairlead-cache-key", b"x-fairlead-queue-ms"}
"""What this node says itself, another node before the upstream must not say for it."""


def forwarded(headers: Headers, upstream: Upstream, key: str | None) -> Headers:
    """The request's fields as they go to `upstream`; `x-fairlead-*` is for this node only."""
    drop = _NOT_FORWARDED if upstream.credentials == "caller" else _NOT_FORWARDED_OR_OURS
    drop = _with_connection(headers, drop)
    fields = [f for f in headers if f[0] not in drop and not f[0].startswith(b"x-fairlead-")]
    if key is not None and upstream.credentials != "caller":
        fields.append(_credential(upstream.shape, key))
    return fields


def with_codings(headers: Headers, codings: frozenset[bytes]) -> Headers:
    """The fields with `Accept-Encoding` cut down to `codings`; `identity` where none is left."""
    result = [field for field in headers if field[0] != b"accept-encoding"]
    if len(result) == len(headers):
        return headers
    accepted = b",".join(value for name, value in headers if name == b"accept-encoding")
    kept = [p for p in accepted.split(b",") if p.partition(b";")[0].strip().lower() in codings]
    result.append((b"accept-encoding", b",".join(kept).strip() or b"identity"))
    return result


def answered(headers: Headers) -> Headers:
    """The upstream's fields as they go to the client."""
    drop = _with_connection(headers, _NOT_ANSWERED)
    return [field for field in headers if field[0] not in drop]


def caller_credential(headers: Headers) -> bytes:
    """The caller's own credential fields, in a form to take a digest of; empty where none."""
    return b"\n".join(value for name, value in headers if name in _ACCOUNT)


def _credential(shape: str, key: str) -> tuple[bytes, bytes]:
    # Anthropic takes API keys in x-api-key and OAuth access tokens as bearer tokens.
    if shape == "anthropic" and not key.startswith("sk-ant-oat"):
        return (b"x-api-key", key.encode())
    return (b"authorization", b"Bearer " + key.encode())


def _with_connection(headers: Headers, drop: frozenset[bytes]) -> frozenset[bytes]:
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            named = {part.strip() for part in value.lower().split(b",")}
            drop |= named
    return drop

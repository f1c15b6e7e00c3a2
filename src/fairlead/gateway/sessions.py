"""Whose request it is for affinity and fairness, how urgent, and what it needs (pure).

A session keeps one prompt prefix warm, so its requests belong on one server. Headers come first:
no body is parsed for what a header says. Of a body only the fields that decide are built; the rest
of a long conversation is skipped in one pass.
"""

from __future__ import annotations

import contextlib
from hashlib import blake2b
from typing import Literal, get_args

import msgspec
from msgspec import Raw

from fairlead.core.identity import Principal
from fairlead.errors import RequestError
from fairlead.gateway.base import ModelRequest, Priority
from fairlead.gateway.keys import MODELS_PATH

CLAUDE_CODE = b"x-claude-code-session-id"
"""Claude Code's sub-agents send their parent's."""

SESSION_HEADERS = (b"x-session-id", CLAUDE_CODE, b"session-id", b"thread-id")
"""The first that is there names the session; opencode sends the first, Codex the last two."""

MAX_RAW_ID = 256
"""Bytes; of a longer id the digest is used."""

MAX_CAPABILITIES, MAX_CAPABILITY = 8, 64

_COUNT_TOKENS = b"/v1/messages/count_tokens"
_CONVERSATIONS = frozenset(
    {b"/v1/chat/completions", b"/v1/responses", b"/v1/messages", _COUNT_TOKENS}
)
_HASHED = 16_384
"""Bytes of each text in a fingerprint: sessions that agree so far share a prefix worth having."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_PRIORITIES: tuple[Priority, ...] = get_args(Priority)
_NO_TEXT = Raw(b'""')
_NONE = frozenset({b'""', b"null"})


class _Labels(msgspec.Struct):
    """The fields that name a session; raw, so that no type of theirs is an error here."""

    model: Raw = _NO_TEXT
    prompt_cache_key: Raw = _NO_TEXT
    metadata: Raw = _NO_TEXT


class _Message(msgspec.Struct):
    role: str = ""
    content: Raw = _NO_TEXT


class _Opening(msgspec.Struct, array_like=True):
    """The first messages of a conversation; those that follow are skipped, not built."""

    first: _Message | None = None
    second: _Message | None = None
    third: _Message | None = None
    fourth: _Message | None = None
    fifth: _Message | None = None
    sixth: _Message | None = None
    seventh: _Message | None = None
    eighth: _Message | None = None


class _Conversation(_Labels):
    """A chat completion's `messages`, a response's `instructions` and `input`, or Anthropic's
    `system` and `messages`."""

    system: Raw = _NO_TEXT
    instructions: Raw = _NO_TEXT
    messages: _Opening | None = None
    input: _Opening | str | None = None
    previous_response_id: Raw = _NO_TEXT


class _Metadata(msgspec.Struct):
    user_id: str = ""


class _Block(msgspec.Struct):
    text: str = ""


_decode_labels = msgspec.json.Decoder(_Labels).decode
_decode_conversation = msgspec.json.Decoder(_Conversation).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_content = msgspec.json.Decoder(str | list[_Block] | None).decode


def session_of(request: ModelRequest, body: bytes) -> str:
    """The session that `request` belongs to, never another tenant's.

    Named by the first of `SESSION_HEADERS`, `prompt_cache_key` and, on Anthropic's paths,
    `metadata.user_id` (Claude Code's holds its session) that is there and not empty. Else a
    fingerprint of tenant, user, model and the texts of the first system and user messages, which
    stay the same while a conversation grows. On other paths, such as embeddings, and for a `body`
    (decoded, perhaps empty) that is no such request, of what can be read of tenant, user and model.
    """
    principal = request.principal
    for name in SESSION_HEADERS:
        value = request.header(name)
        if value:
            return _scoped(principal.tenant, value)
    read = _read(request, body)
    named = _named(request, read)
    return _scoped(principal.tenant, named or _fingerprint(principal, read))


def flow_of(request: ModelRequest, session: str) -> str:
    """Between whom a queue is fair: verified users.

    Where nobody is verified, sessions: Claude Code's with all of its sub-agents, else `session`.
    """
    principal = request.principal
    if principal.verified:
        return _scoped(principal.tenant, principal.user.encode())
    value = request.header(CLAUDE_CODE)
    return _scoped(principal.tenant, value) if value else session


PriorityHeader = Literal["any", "lower", "off"]
"""Who may say how urgent a request is: everybody, everybody who makes it less urgent, nobody."""


def priority_of(request: ModelRequest, allowed: PriorityHeader) -> Priority:
    """The class that `x-fairlead-priority` asks for where that is `allowed`, else the route's.

    `lower`: only a class below the route's own counts; `off`: the field is not read. Raises
    `RequestError` (400) for a word that is no class.
    """
    own = _route_priority(request.path)
    value = None if allowed == "off" else request.header(b"x-fairlead-priority")
    if value is None:
        return own
    word = value.strip().lower().decode("latin-1")
    for priority in _PRIORITIES:
        if priority == word:
            lower = _PRIORITIES.index(priority) > _PRIORITIES.index(own)
            return priority if lower or allowed == "any" else own
    names = ", ".join(_PRIORITIES)
    message = f"x-fairlead-priority must be one of {names}"
    raise RequestError(400, message, param="x-fairlead-priority")


def _route_priority(path: bytes) -> Priority:
    if path in {_COUNT_TOKENS, MODELS_PATH} or path.startswith(MODELS_PATH + b"/"):
        return "high"
    return "low" if path == b"/v1/embeddings" else "normal"


def capabilities_of(request: ModelRequest) -> tuple[str, ...]:
    """What `x-fairlead-capability` asks a server to have: words between commas, each once.

    Raises `RequestError` (400) for more than 8, or one of more than 64 characters.
    """
    values = request.values(b"x-fairlead-capability")
    if not values:
        return ()
    words = [word.strip() for word in b",".join(values).decode("utf-8", "replace").split(",")]
    found = tuple(dict.fromkeys(word for word in words if word))
    if len(found) > MAX_CAPABILITIES or any(len(word) > MAX_CAPABILITY for word in found):
        bounds = f"at most {MAX_CAPABILITIES} words of at most {MAX_CAPABILITY} characters"
        message = f"x-fairlead-capability takes {bounds}, with commas between them"
        raise RequestError(400, message, param="x-fairlead-capability")
    return found


def _scoped(tenant: str, name: bytes) -> str:
    # The length keeps tenant "a" with id "b/c" and tenant "a/b" with id "c" apart.
    shown = name.decode("latin-1") if len(name) <= MAX_RAW_ID else _digest(name)
    return f"{len(tenant)}:{tenant}/{shown}"


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _read(request: ModelRequest, body: bytes) -> _Labels:
    """The fields of `body`, as far as they can be read."""
    # What is no JSON, or of other types than the API's, is the upstream's to refuse.
    if request.path in _CONVERSATIONS:
        with contextlib.suppress(*_UNREADABLE):
            return _decode_conversation(body)
    with contextlib.suppress(*_UNREADABLE):
        return _decode_labels(body)
    return _Labels()


def _named(request: ModelRequest, read: _Labels) -> bytes:
    """The name that the body itself gives the session; empty where it gives none."""
    # A field of another type than the API's names nothing.
    with contextlib.suppress(*_UNREADABLE):
        if name := _decode_string(read.prompt_cache_key):
            return name.encode()
    if request.path.startswith(b"/v1/messages"):
        with contextlib.suppress(*_UNREADABLE):
            return _decode_metadata(read.metadata).user_id.encode()
    return b""


def _fingerprint(principal: Principal, read: _Labels) -> bytes:
    parts = [principal.tenant.encode(), principal.user.encode(), bytes(read.model)]
    if isinstance(read, _Conversation):
        parts += [_text(read.system), _text(read.instructions), *_opening_texts(read)]
        if bytes(read.previous_response_id) not in _NONE:
            # What comes after that is not how a conversation begins.
            parts.append(bytes(read.previous_response_id))
    hasher = blake2b(digest_size=16)
    for part in parts:
        kept = part[:_HASHED]
        hasher.update(len(kept).to_bytes(4, "big"))
        hasher.update(kept)
    return hasher.hexdigest().encode()


def _opening_texts(read: _Conversation) -> tuple[bytes, bytes]:
    """The texts of the first user message and of the first system message before it."""
    if isinstance(read.input, str):
        return b"", read.input.encode()
    system = b""
    for message in msgspec.structs.astuple(read.messages or read.input or _Opening()):
        if message is None:
            continue
        if message.role == "user":
            return system, _text(message.content)
        # One that comes later was not there when the session began.
        if message.role in {"system", "developer"}:
            system = system or _text(message.content)
    return system, b""


def _text(content: Raw) -> bytes:
    """What a message says. Its other fields change with the conversation: clients move
    `cache_control` along to the newest message, and turn a string into blocks for it."""
    try:
        decoded = _decode_content(content)
    except _UNREADABLE:
        return bytes(content)
    if isinstance(decoded, str):
        return decoded.encode()
    return "".join(block.text for block in decoded or ()).encode()

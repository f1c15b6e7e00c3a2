"""The requests a benchmark sends: conversations of a given size, with orders for the upstream."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Literal

Caching = Literal["hit", "stored", "bypass"]
Origin = Literal["plain", "own"]

NONCE = b"nonce-0000000000"
"""Stands in the last message of every body; a request that must be unlike any other counts here."""

_MESSAGE_BYTES = 2000
_LINES = (
    "def load_session(path: Path, *, strict: bool = True) -> Session:",
    '    raise ValueError(f"cannot read {path!r}: expected version {VERSION}")',
    "The test fails because the token is refreshed before the lock is taken.",
    "    for name, field in schema.fields.items():",
    "        if field.required and name not in payload:",
    "\tassert response.status_code == 200, response.text",
    "Read src/auth/middleware.py and move the check into a dependency.",
    "-    return json.loads(raw)",
    "+    return msgspec.json.decode(raw, type=Session)",
    '{"file": "src/app/routes.py", "line": 214, "severity": "warning"}',
)


@dataclass(frozen=True)
class Stream:
    """The events an upstream sends: how many, and the milliseconds between them (0: full speed)."""

    events: int
    gap_ms: int


@dataclass(frozen=True)
class Traffic:
    """One kind of request. `size` and `answer` are bytes of its body and of the answer's.

    `origin` is the upstream that answers: `plain` is nginx with a fixed small answer, `own` reads
    the body first, streams and sends answers of any size.
    """

    origin: Origin
    size: int
    caching: Caching = "bypass"
    answer: int = 0
    stream: Stream | None = None

    @property
    def model(self) -> str:
        """The model to ask for, by which a gateway finds the upstream."""
        return f"bench-{self.origin}"


def body(traffic: Traffic, seed: int) -> bytes:
    """A chat completion request of exactly `traffic.size` bytes, deterministic for a seed.

    Messages of about 2 KB alternate between user and assistant, as in a session of an assistant.
    """
    generator = random.Random(seed)
    system = f"{_order(traffic)}You are a coding assistant. Answer with a patch."
    messages = [{"role": "system", "content": system}]
    room = traffic.size - len(_dump(traffic, messages)) - 100
    while room > _MESSAGE_BYTES + 500:
        role = "assistant" if len(messages) % 2 == 0 else "user"
        messages.append({"role": role, "content": _text(generator, _MESSAGE_BYTES)})
        room -= len(json.dumps(messages[-1]))
    messages.append({"role": "user", "content": f"{NONCE.decode()} "})
    missing = traffic.size - len(_dump(traffic, messages))
    messages[-1]["content"] += "x" * missing
    return _dump(traffic, messages)


def with_nonce(request: bytes, number: int) -> bytes:
    """The same body (or whole request) as one that was never sent before."""
    return request.replace(NONCE, b"nonce-%010d" % number)


def http_request(host: str, path: str, payload: bytes) -> bytes:
    """The whole HTTP/1.1 request as an assistant's client sends it."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: fairlead-benchmark\r\n"
        "accept: application/json\r\nauthorization: Bearer benchmark\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def _order(traffic: Traffic) -> str:
    """What the own upstream should send; in a message, because every proxy passes those."""
    stream = traffic.stream or Stream(0, 0)
    return f"~S {stream.events} {stream.gap_ms} {traffic.answer}~ "


def _dump(traffic: Traffic, messages: list[dict[str, str]]) -> bytes:
    request: dict[str, object] = {"messages": messages, "model": traffic.model}
    if traffic.caching != "bypass":
        request["temperature"] = 0
    if traffic.stream is not None:
        request["stream"] = True
    return json.dumps(request, separators=(",", ":")).encode()


def _text(generator: random.Random, size: int) -> str:
    lines: list[str] = []
    while sum(map(len, lines)) < size:
        lines.append(f"{generator.choice(_LINES)}  # {generator.getrandbits(40):x}")
    return "\n".join(lines)

"""A request of any shape as the simulated model sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_ATTACHMENT_BYTES = 4_000


class Call(msgspec.Struct, frozen=True):
    """A tool call that an assistant made earlier; `arguments` is JSON text as it was sent."""

    name: str
    arguments: str


class Turn(msgspec.Struct, frozen=True):
    """One message. `role` is `system`, `user`, `assistant` or `tool` (a tool's result)."""

    role: str
    text: str = ""
    calls: tuple[Call, ...] = ()
    attachments: tuple[bytes, ...] = ()
    """Digests of images and files; each counts as 1,000 tokens."""


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `schema` is its parameters' JSON schema."""

    name: str
    schema: Any


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What decides an answer.

    `choice` is `auto`, `none` or `required`; `forced` names the one tool that must be called.
    """

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    forced: str | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    thinking: bool = False
    schema: Any = None
    """JSON schema that the text must meet, or None for plain text."""
    choices: int = 1


class Situation(msgspec.Struct, frozen=True):
    """Where in its task the conversation stands; scripts and tool calls go by it."""

    turn: int
    """Runs of assistant messages so far."""
    user_text: str
    """The last user message that has text."""
    results: str | None
    """Tool results since the assistant last spoke, joined by newlines; None without any."""
    rendered: bytes


def situation(prompt: Prompt, rendered: bytes) -> Situation:
    """What `prompt` amounts to; `rendered` is `render(prompt)`."""
    count = 0
    user_text = ""
    results: list[str] = []
    previous = ""
    for turn in prompt.turns:
        if turn.role == "assistant":
            count += previous != "assistant"
            results = []
        elif turn.role == "tool":
            results.append(turn.text)
        elif turn.role == "user" and turn.text:
            user_text = turn.text
        previous = turn.role
    return Situation(count, user_text, "\n".join(results) if results else None, rendered)


def render(prompt: Prompt) -> bytes:
    """The text the model is said to read: tools, then messages in order.

    A conversation that grows keeps its beginning byte for byte; ids are left out.
    """
    parts: list[bytes] = []
    for tool in prompt.tools:
        parts += (b"<|tool|>", tool.name.encode(), b" ", msgspec.json.encode(tool.schema), b"\n")
    for turn in prompt.turns:
        parts += (b"<|", turn.role.encode(), b"|>", turn.text.encode())
        for call in turn.calls:
            parts += (b"<|call|>", call.name.encode(), b" ", call.arguments.encode())
        parts.extend(_filled(digest) for digest in turn.attachments)
        parts.append(b"\n")
    return b"".join(parts)


def digest_of(attachment: object) -> bytes:
    """The digest that stands for an image or a file (any JSON value)."""
    encoded = (
        attachment.encode() if isinstance(attachment, str) else msgspec.json.encode(attachment)
    )
    return hashlib.sha256(encoded).hexdigest().encode()


def text_of(content: object, kinds: Sequence[str]) -> str:
    """The text of a message's content: a string, or parts whose `type` is one of `kinds`.

    Anything else has no text; shapes differ too much for one strict schema.
    """
    if isinstance(content, str):
        return content
    return "\n".join(
        part["text"]
        for part in dicts(content)
        if part.get("type") in kinds and isinstance(part.get("text"), str)
    )


def dicts(value: object) -> Iterable[dict[str, Any]]:
    """The objects in `value` where it is a list; nothing otherwise."""
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def string(value: object) -> str:
    """`value` as text: a string as it is, None as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _filled(digest: bytes) -> bytes:
    return (digest * (_ATTACHMENT_BYTES // len(digest) + 1))[:_ATTACHMENT_BYTES]

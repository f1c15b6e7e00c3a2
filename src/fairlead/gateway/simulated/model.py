"""The simulated model: a prompt in, an answer out; the same for the same seed and content."""

from __future__ import annotations

import hashlib
import itertools
import re

import msgspec

from fairlead.core.clock import Clock
from fairlead.errors import RequestError
from fairlead.gateway.simulated import wording
from fairlead.gateway.simulated.options import MAX_ANSWER_TOKENS, SimulatedOptions
from fairlead.gateway.simulated.prefix import PrefixCache, PrefixLookup
from fairlead.gateway.simulated.prompt import Prompt, Situation, Tool, render, situation
from fairlead.gateway.simulated.schema import example
from fairlead.gateway.simulated.script import Rule, Script
from fairlead.gateway.simulated.tokens import count, cut

_MAX_EXAMPLE_BYTES = 65_536
_WORD = re.compile(r"[\w-]+")


class Block(msgspec.Struct, frozen=True):
    """A part of an answer. `kind` is `thinking`, `text` or `tool`."""

    kind: str
    text: str
    """What is thought or said, or the tool's arguments as JSON text."""
    id: str
    """24 hexadecimal digits; the shape puts its prefix before it."""
    name: str = ""
    """The tool's name."""


class Choice(msgspec.Struct, frozen=True):
    """One complete answer. `finish` is `stop`, `length`, `tool` or `sequence` (a stop sequence)."""

    blocks: tuple[Block, ...]
    finish: str
    sequence: str | None = None
    """The stop sequence that ended it."""


class Usage(msgspec.Struct, frozen=True):
    """Estimated tokens; `thinking` is part of `output`."""

    prompt: PrefixLookup
    output: int
    thinking: int


class Answer(msgspec.Struct, frozen=True):
    """What a shape sends in its own form."""

    id: str
    """64 hexadecimal digits, unique per answer of one server."""
    model: str
    created: int
    """Seconds since 1970."""
    choices: tuple[Choice, ...]
    usage: Usage


class SimulatedModel:
    """Answers prompts by script, or with generated text and tool calls.

    Content and tool call ids follow from the seed and the request; answer ids also from how many
    answers were given before. A `temperature` above 0 lets that number into the content too.
    """

    def __init__(self, options: SimulatedOptions, script: Script, clock: Clock) -> None:
        self._options = options
        self._script = script
        self._clock = clock
        self._numbers = itertools.count()
        self.prefixes = PrefixCache(options.prefix_cache_blocks)

    def next_id(self, digest: bytes = b"") -> str:
        """64 hexadecimal digits that this server gives out once."""
        return self._hash(b"id", str(next(self._numbers)).encode(), digest).hex()

    def chance(self) -> float:
        """A number from 0 up to 1 that decides whether a request fails."""
        drawn = self._hash(b"chance", str(next(self._numbers)).encode())
        return int.from_bytes(drawn[:6], "big") / (1 << 48)

    def answer(self, prompt: Prompt, length: int | None = None) -> Answer:
        """The answer to `prompt`; unscripted text has `length` tokens where that is given.

        `RequestError` where a tool is forced that is not offered.
        """
        rendered = render(prompt)
        now = situation(prompt, rendered)
        content = self._hash(prompt.model.encode(), rendered, repr(prompt.schema).encode())
        answer_id = self.next_id(content)
        if prompt.temperature:
            content = self._hash(content, answer_id.encode())
        wanted = length or self._options.answer_tokens
        if wanted * prompt.choices > MAX_ANSWER_TOKENS:
            message = f"n × answer length is more than {MAX_ANSWER_TOKENS:,} tokens."
            raise RequestError(400, message, param="n")
        rule = self._script.find(prompt, now)
        digests = [self._hash(content, bytes([index])) for index in range(prompt.choices)]
        choices = tuple(
            _limited(
                _scripted(rule, prompt, digest)
                if rule is not None
                else _unscripted(prompt, now, digest, wanted),
                prompt,
            )
            for digest in digests
        )
        blocks = [block for choice in choices for block in choice.blocks]
        return Answer(
            id=answer_id,
            model=simulated_name(prompt.model),
            created=int(self._clock.time()),
            choices=choices,
            usage=Usage(
                self.prefixes.look_up(prompt.model, rendered),
                sum(count(block.text) for block in blocks),
                sum(count(block.text) for block in blocks if block.kind == "thinking"),
            ),
        )

    def _hash(self, *parts: bytes) -> bytes:
        digest = hashlib.sha256(f"fairlead simulated {self._options.seed}".encode())
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()


def simulated_name(model: str) -> str:
    """The model name of an answer: what was asked for, marked as simulated."""
    return model if model.startswith("simulated") else f"simulated-{model}"


def _scripted(rule: Rule, prompt: Prompt, digest: bytes) -> list[Block]:
    blocks = []
    if rule.thinking and prompt.thinking:
        blocks.append(Block("thinking", rule.thinking, _block_id(digest, 0)))
    if rule.text:
        blocks.append(Block("text", rule.text, _block_id(digest, 1)))
    for number, call in enumerate(rule.tool_calls, 2):
        arguments = msgspec.json.encode(call.arguments).decode()
        blocks.append(Block("tool", arguments, _block_id(digest, number), call.name))
    return blocks


def _unscripted(prompt: Prompt, now: Situation, digest: bytes, wanted: int) -> list[Block]:
    blocks = []
    if prompt.thinking:
        # Thinking must leave room for an answer within the request's limit.
        room = min(wanted // 4, (prompt.max_tokens or wanted) // 2)
        blocks.append(
            Block("thinking", wording.thought(digest, max(room, 1)), _block_id(digest, 0))
        )
    tool = _tool_to_call(prompt, now)
    if tool is not None:
        arguments = example(tool.schema)
        # Arguments are an object, whatever the schema says.
        text = _encoded(arguments if isinstance(arguments, dict) else {})
        blocks.append(Block("tool", text, _block_id(digest, 2), tool.name))
    elif prompt.schema is not None:
        blocks.append(Block("text", _encoded(example(prompt.schema)), _block_id(digest, 1)))
    else:
        blocks.append(Block("text", wording.answer(digest, wanted), _block_id(digest, 1)))
    return blocks


def _encoded(value: object) -> str:
    """`value` as JSON text; `RequestError` where it is huge, as a schema's default may be."""
    encoded = msgspec.json.encode(value)
    if len(encoded) > _MAX_EXAMPLE_BYTES:
        message = f"The example value of a schema is over {_MAX_EXAMPLE_BYTES:,} bytes."
        raise RequestError(400, message)
    return encoded.decode()


def _tool_to_call(prompt: Prompt, now: Situation) -> Tool | None:
    """The tool that is forced, or required, or that the user's text names as a whole word.

    None after a tool's result, whatever is forced: a task must come to an end.
    """
    if prompt.forced is not None and all(tool.name != prompt.forced for tool in prompt.tools):
        raise RequestError(
            400,
            f"Tool choice {prompt.forced!r} not found in 'tools' parameter.",
            param="tool_choice",
        )
    if prompt.choice == "none" or now.results is not None or not prompt.tools:
        return None
    if prompt.forced is not None:
        return next(tool for tool in prompt.tools if tool.name == prompt.forced)
    words = set(_WORD.findall(now.user_text))
    fallback = prompt.tools[0] if prompt.choice == "required" else None
    return next((tool for tool in prompt.tools if tool.name in words), fallback)


def _limited(blocks: list[Block], prompt: Prompt) -> Choice:
    """`blocks` up to the first stop sequence and within the token limit.

    A tool call that does not fit whole is left out: half of its arguments would be of no use.
    """
    left = prompt.max_tokens
    kept: list[Block] = []
    for block in blocks:
        text, sequence = (
            _before(block.text, prompt.stop) if block.kind == "text" else (block.text, None)
        )
        size = count(text)
        if left is not None and size > left:
            if block.kind != "tool" and left:
                kept.append(msgspec.structs.replace(block, text=cut(text, left)))
            return Choice(tuple(kept), "length")
        kept.append(msgspec.structs.replace(block, text=text))
        if sequence is not None:
            return Choice(tuple(kept), "sequence", sequence)
        left = None if left is None else left - size
    return Choice(tuple(kept), "tool" if any(b.kind == "tool" for b in kept) else "stop")


def _before(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """`text` before the stop sequence that comes first, and that sequence."""
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not found:
        return text, None
    at, stop = min(found)
    return text[:at], stop


def _block_id(digest: bytes, number: int) -> str:
    return hashlib.sha256(digest + number.to_bytes(4, "big")).hexdigest()[:24]

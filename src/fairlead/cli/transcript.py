"""Threads as they are printed for people: listings, and what was said in one.

What is stored may come from anywhere: no control character of it reaches the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from fairlead.conversations.records import Head, Hit, Message
from fairlead.conversations.texts import MATCH_END, MATCH_START, value_of
from fairlead.web.threadforms import moment

RESULT_LINES = 8
"""Lines of a tool's result that are shown."""
ARGUMENTS_WIDTH = 100
"""Characters of a call's arguments that are shown."""

# Controls (C0, C1), what turns the direction of text or is not seen, and halves of pairs.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff]"
)
_STYLES = {
    "user": "bold green",
    "assistant": "bold cyan",
    "tool": "bold yellow",
    "system": "bold magenta",
    "developer": "bold magenta",
}
_KINDS = {"call": "yellow", "thought": "dim italic", "note": "dim"}
_TEXT_KEYS = ("text", "thinking", "reasoning", "output", "refusal", "summary", "content")


class Piece(NamedTuple):
    """A part of a message: `text`, `call`, `result`, `thought` or `note`."""

    kind: str
    text: str


def safe(text: str) -> str:
    """`text` with escapes in the place of what a terminal would act upon; lines stay."""
    return _HIDDEN.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def one_line(text: str, width: int = 0) -> str:
    """`text` in one safe line, of at most `width` characters where that is given."""
    line = safe(" ".join(text.split()))
    return f"{line[: width - 1]}…" if 0 < width < len(line) else line


# ---- listings


def heading(head: Head) -> Text:
    """A thread in two lines: its title, then id, user, times and number of messages."""
    shared = " · shared" if head.is_shared else ""
    about = (
        f"{head.id} · {one_line(head.user_id)} · {moment(head.created)} to "
        f"{moment(head.last_activity)} · {counted(head.message_count, 'message')}{shared}"
    )
    return Text.assemble((one_line(head.title) or "(no title)", "bold"), "\n", (about, "dim"))


def hit_text(hit: Hit) -> Text:
    """A thread that was found, with what was found marked."""
    text = heading(hit.head)
    for match in hit.matches:
        where = "title" if match.sequence is None else f"#{match.sequence}"
        text.append(f"\n  {where}: ", "dim")
        pieces = match.snippet.replace(MATCH_END, MATCH_START).split(MATCH_START)
        for number, piece in enumerate(pieces):
            # Every second piece lay between marks; spaces at its ends part it from the others.
            text.append(safe(re.sub(r"\s+", " ", piece)), "bold" if number % 2 else "")
    return text


def counted(number: int, thing: str) -> str:
    """A number of things in words: `1 message`, `1,200 messages`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# ---- messages


def transcript(head: Head, branch: int | None, messages: Sequence[Message]) -> list[Text]:
    """A thread with the messages of `branch`, or of all; and what of it is not shown."""
    texts = [heading(head), *map(message_text, messages)]
    hidden = head.message_count - len(messages)
    if branch is not None and hidden > 0:
        where = f"branch {branch} of {head.branches + 1}, " if head.branches else ""
        others = "; --branch N shows another" if head.branches else ""
        note = f"({where}{counted(hidden, 'more message')}: --all shows everything{others})"
        texts.append(Text(note, "dim"))
    return texts


def message_text(message: Message) -> Text:
    """A message: role, time and model, then what it says."""
    role, metadata = one_line(message.role, 40), message.metadata
    text = Text.assemble(
        (role, _STYLES.get(message.role, "bold")),
        (f" #{message.sequence} · {moment(message.timestamp)}", "dim"),
    )
    if message.branch:
        text.append(f" · branch {message.branch}", "dim")
    if isinstance(model := metadata.get("model"), str):
        text.append(f" · {one_line(model, 80)}", "dim")
    for piece in pieces_of(message):
        text.append("\n")
        text.append(_shown(piece), _KINDS.get(piece.kind, ""))
    return text


def _shown(piece: Piece) -> str:
    if piece.kind == "call":
        return f"→ {one_line(piece.text)}"
    lines = safe(piece.text).rstrip("\n").split("\n")
    if piece.kind == "result" and len(lines) > RESULT_LINES:
        rest = counted(len(lines) - RESULT_LINES, "line")
        lines = [*lines[:RESULT_LINES], f"… {rest} more"]
    return "\n".join(lines)


def pieces_of(message: Message) -> Iterator[Piece]:
    """The parts of a message, in order, whichever API it came from."""
    metadata = message.metadata
    for name in ("reasoning_content", "reasoning"):
        if isinstance(thought := metadata.get(name), str) and thought:
            yield Piece("thought", thought)
            break
    plain = "result" if message.role == "tool" else "text"
    yield from _parts(value_of(bytes(message.content)), plain)
    if isinstance(refusal := metadata.get("refusal"), str) and refusal:
        yield Piece("text", refusal)
    calls = metadata.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, Mapping):
            yield _call(call.get("function") or call)
    if metadata.get("partial"):
        yield Piece("note", "(the answer broke off here)")
    if isinstance(error := metadata.get("error"), str) and error:
        yield Piece("note", f"(error: {error})")


def _parts(value: Any, plain: str) -> Iterator[Piece]:
    if value is None:
        return
    if isinstance(value, str):
        if value:
            yield Piece(plain, value)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item, plain) if not isinstance(item, list) else [_other(item)]
    elif isinstance(value, Mapping):
        yield _block(value, plain)
    else:
        yield _other(value)


def _block(block: Mapping[str, Any], plain: str) -> Piece:
    kind = block.get("type")
    if not isinstance(kind, str):
        kind = "message" if "content" in block else ""
    if kind.endswith(("_use", "_call")):
        return _call(block)
    if kind.endswith(("_result", "_output")):
        return Piece("result", _text(block))
    if kind in {"thinking", "redacted_thinking", "reasoning"}:
        return Piece("thought", _text(block) or "(not shown by the model)")
    if kind in {"text", "input_text", "output_text", "refusal", "message"}:
        return Piece(plain, _text(block))
    if kind:
        return Piece("note", f"[{kind}]")
    return _other(block)


def _text(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth > 8:
        return "…"
    if isinstance(value, list):
        return "\n".join(filter(None, (_text(item, depth + 1) for item in value)))
    if isinstance(value, Mapping):
        found = (_text(value[key], depth + 1) for key in _TEXT_KEYS if value.get(key))
        return "\n".join(filter(None, found))
    return "" if value is None else msgspec.json.encode(value).decode()


def _call(call: Mapping[str, Any]) -> Piece:
    given = call.get("arguments", call.get("input"))
    if not isinstance(given, str):
        given = "" if given is None else msgspec.json.encode(given).decode()
    name = call.get("name") or call.get("type") or "?"
    return Piece("call", f"{one_line(str(name), 80)}({one_line(given, ARGUMENTS_WIDTH)})")


def _other(value: Any) -> Piece:
    return Piece("text", msgspec.json.encode(value).decode())


# ---- printing


def show(console: Console, texts: Sequence[Text]) -> None:
    """Print texts with an empty line between them; lines stay whole where no terminal reads."""
    for number, text in enumerate(texts):
        if number:
            console.print()
        console.print(text, soft_wrap=not console.is_terminal)

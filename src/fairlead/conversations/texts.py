"""What of a message can be read, searched and shown in a line (pure).

Words are the same for every engine: runs of letters and digits, in small letters and without the
marks of Latin letters, much as FTS5's tokenizer `unicode61 remove_diacritics 2` makes them (SQLite
manual, FTS5, section 4.3.1). So that nothing depends on the Unicode version of an engine, each one
indexes " ".join(words_of(text)) and parts it at spaces alone, and a search is an AND of
`terms_of(query)`, each an exact word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.conversations.records import MAX_TITLE
from fairlead.errors import RequestError

MAX_TEXT = 32_768
"""Characters of a message that can be searched."""
MAX_TERMS = 16
"""Words of a search; those beyond are not asked for."""
TITLE_WIDTH = 80
"""Characters of a title made of a text."""
MATCH_START, MATCH_END = "\x02", "\x03"
"""Around each word that a search has found."""

_MAX_DEPTH = 32
_LEAD = 40
"""Characters that a snippet shows before the first word found."""

_WORD = re.compile(r"[^\W_]+")
_SPACE = re.compile(r"\s")
# The marks that FTS5 takes for part of a word, and leaves out.
_MARK = re.compile(
    "[\u0300-\u0304\u0306-\u030c\u030f\u0311\u031b\u0323-\u0328\u032d\u032e\u0330\u0331]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# An escaped pair of surrogates, half of one, or any other escape.
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\."
)
_TAG = re.compile(r"<([a-zA-Z][\w.-]*)(?:\s[^<>]{0,500})?>")
# Names of tags that hold what an assistant adds; most have more than one word.
_WRAPPER = re.compile(r".*[_-].*|context|environment|files|instructions|rules", re.IGNORECASE)
# Around what the user has written.
_SPOKEN = re.compile(r"</?(?:task|user_query|user_message|user_request|query|prompt|message)>")
_ADDED = re.compile(r"</?[\w.-]+[^<>]*>|AGENTS\.md instructions\b.*")
_MEANINGFUL = re.compile(r"[^\W_]{2}|[^\W\d_]")


def value_of(content: bytes) -> Any:
    """The JSON value that `content` is; half of a surrogate pair becomes U+FFFD.

    JavaScript cuts strings between the halves and sends what is left as an escape.
    Raises `RequestError` (400) where it is no JSON.
    """
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        mended = _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], content)
    except RecursionError as error:
        raise RequestError(400, "the content is nested too deeply", param="content") from error
    try:
        return msgspec.json.decode(mended)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"the content is no JSON: {error}", param="content") from error


def text_of(content: bytes) -> str:
    """The text in a message's content, its parts in lines; at most `MAX_TEXT` characters.

    Of tool calls it has the name and what was given, of tool results what came back; pictures and
    other encoded data have none. Control characters are replaced by spaces. Errors: `value_of`.
    """
    parts, room = [], MAX_TEXT
    for part in _texts(value_of(content), 0):
        parts.append(part[:room])
        room -= len(part) + 1
        if room <= 0:
            break
    return _CONTROLS.sub(" ", "\n".join(parts))


def message_text(content: bytes, metadata: Mapping[str, Any]) -> str:
    """What can be searched of a message: its content, and what Chat Completions has beside it.

    That is a refusal, and of tool calls their names and what was given. Bounds and errors:
    `text_of`.
    """
    text = text_of(content)
    beside = list(_beside(metadata))
    return (
        _CONTROLS.sub(" ", "\n".join(filter(None, [text, *beside])))[:MAX_TEXT] if beside else text
    )


def _beside(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield from _texts(metadata.get("refusal"), 0)
    calls = metadata.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        if isinstance(call, dict):
            inner = call.get("function")
            given = inner if isinstance(inner, dict) else call
            yield from _texts([given.get("name"), given.get("arguments"), given.get("input")], 0)


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if value and not value.startswith("data:"):
            yield value
    elif depth >= _MAX_DEPTH:
        return
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict):
        for item in _readable(value):
            yield from _texts(item, depth + 1)


def _readable(block: dict[str, Any]) -> list[Any]:
    """The values of a content block that hold text."""
    kind = block.get("type")
    if kind is None:
        return list(block.values())
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        given = block.get("input")
        return [block.get("name"), *(given.values() if isinstance(given, dict) else [given])]
    if kind in ("function_call", "custom_tool_call"):
        return [block.get("name"), block.get("arguments"), block.get("input")]
    fields = ("text", "thinking", "refusal", "title", "summary", "content", "output")
    return [block[field] for field in fields if field in block]


# ---- titles


def title_of(text: str) -> str:
    """A title for a thread that begins with `text`: its first line that says something.

    What assistants wrap in tags (`<system-reminder>`, `<environment_context>`) is left out. At
    most `TITLE_WIDTH` characters, cut at a word; "" where nothing is left.
    """
    for line in _unwrapped(_SPOKEN.sub("\n", text[:MAX_TEXT])).splitlines():
        title = " ".join(_CONTROLS.sub(" ", line).strip(" \t#*-`").split())
        if _MEANINGFUL.search(title) and not _ADDED.fullmatch(title):
            return _cut(title)
    return ""


def _unwrapped(text: str) -> str:
    """The text without what stands between tags of assistants."""
    pieces, done = [], 0
    unclosed: set[str] = set()
    for tag in _TAG.finditer(text):
        name = tag[1]
        # A tag without an end is looked up once, or a text of tags would take seconds.
        if tag.start() < done or name in unclosed or not _WRAPPER.fullmatch(name):
            continue
        end = text.find(f"</{name}>", tag.end())
        if end < 0:
            unclosed.add(name)
            continue
        pieces.append(text[done : tag.start()])
        done = end + len(name) + 3
    return "\n".join([*pieces, text[done:]])


def _cut(line: str) -> str:
    if len(line) <= TITLE_WIDTH:
        return line
    cut = line[: TITLE_WIDTH - 1]
    head, space, _ = cut.rpartition(" ")
    # A word that is longer than half of the line is cut instead.
    return (head if space and len(head) > TITLE_WIDTH // 2 else cut).rstrip(" ,;:.-") + "…"


def title_key(title: str) -> str:
    """What titles are ordered by: small letters without marks, spaces as one."""
    return " ".join(folded(title[:MAX_TITLE]).split())


# ---- words


class _Folding(dict[int, str | int | None]):
    """What becomes of a character, worked out when it is first met; one entry each at most."""

    def __missing__(self, code: int) -> str | int | None:
        character = chr(code)
        small = character.casefold()
        if len(small) != 1:
            small = character.lower()[0]
        self[code] = None if _MARK.fullmatch(character) else _unmarked(small)
        return self[code]


def _unmarked(character: str) -> str:
    """A Latin letter without its marks; any other character as it is."""
    base = unicodedata.normalize("NFD", character)
    return base[0] if len(base) > 1 and base[0].isascii() else character


_FOLDING = _Folding()


def folded(text: str) -> str:
    """The text as it is compared: in small letters, without the marks of Latin letters."""
    return text.lower() if text.isascii() else text.translate(_FOLDING)


def words_of(text: str) -> list[str]:
    """The words of a text as they are searched, in their order."""
    return _WORD.findall(folded(text))


def terms_of(query: str) -> list[str]:
    """The words that a search asks for, each once, at most `MAX_TERMS`."""
    return list(dict.fromkeys(words_of(query)))[:MAX_TERMS]


def snippet(text: str, terms: Sequence[str], width: int = 160) -> str | None:
    """About `width` characters of `text` around the first of `terms`, each of them marked.

    Marks are `MATCH_START` and `MATCH_END`; "…" stands where the text was cut. None where `text`
    holds none of `terms`.
    """
    # Without separate marks every character folds to exactly one, so places agree.
    plain = text if text.isascii() else _MARK.sub("", unicodedata.normalize("NFC", text))
    wanted, compared = frozenset(terms), folded(plain)
    first = next((word for word in _WORD.finditer(compared) if word[0] in wanted), None)
    if first is None:
        return None
    start = _word_start(plain, first.start() - _LEAD)
    end = max(first.end(), min(len(plain), start + width))
    pieces, done = ["…" if start else ""], start
    for word in _WORD.finditer(compared, start, end):
        if word[0] in wanted:
            marked = f"{MATCH_START}{plain[word.start() : word.end()]}{MATCH_END}"
            pieces += [plain[done : word.start()], marked]
            done = word.end()
    pieces += [plain[done:end], "…" if end < len(plain) else ""]
    return " ".join("".join(pieces).split())


def _word_start(text: str, place: int) -> int:
    """The first place from `place` on where a word may begin."""
    if place <= 0:
        return 0
    space = _SPACE.search(text, place, place + _LEAD)
    return space.end() if space else place

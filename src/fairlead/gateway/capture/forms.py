"""What the readers of the three APIs share: JSON that may be odd, and objects that come in deltas.

Upstreams and assistants send what they like: a field of another type than the API's counts as
absent, an event that is no JSON object is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.gateway.capture.base import CapturedMessage

NULL = b"null"
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What reading something raises that is no JSON, or not of the form that is read."""
INSTRUCTING = frozenset({"system", "developer"})
MAX_ROLE, MAX_ERROR = 64, 500
"""Characters."""

_NAMING = frozenset({"format", "id", "name", "role", "type"})
"""Strings that are given once; some servers repeat them with every delta."""

fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
"""The fields of a JSON object, each as its own text."""
items_of = msgspec.json.Decoder(list[Raw]).decode
encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode


class Prompt(msgspec.Struct, frozen=True):
    """What a request says."""

    model: str
    system: Sequence[CapturedMessage]
    messages: Sequence[CapturedMessage]
    max_tokens: int | None = None


class Answered(msgspec.Struct):
    """What an answer says."""

    id: str = ""
    model: str = ""
    finish_reason: str = ""
    usage: Mapping[str, Any] = {}
    error: str = ""
    complete: bool = False
    """It came to the end that its API gives it, without an error."""
    messages: Sequence[CapturedMessage] = ()


def value_of(data: bytes | Raw) -> Any:
    """The JSON value in `data`; half of a surrogate pair, as JavaScript cuts them, is U+FFFD."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(mended(bytes(data)))


def mended(data: bytes) -> bytes:
    """JSON text again, in UTF-8 and without halves of surrogate pairs."""
    text = json.dumps(json.loads(data.decode("utf-8", "replace")), ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def object_of(data: bytes) -> dict[str, Any] | None:
    """The JSON object in `data`; None where it is none."""
    try:
        value = value_of(data)
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None


def text(value: Any) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in `value`, if it is a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def count(value: Any) -> int | None:
    """`value` if it is a whole number above 0."""
    return value if type(value) is int and value > 0 else None


def error_in(answer: Mapping[str, Any]) -> str:
    """What an answer or event says of an error; empty where there is none."""
    error = answer.get("error")
    if not error:
        return ""
    told = mapping(error)
    parts = (told.get("message"), told.get("type"), told.get("code"), error, "error")
    return next(filter(None, map(text, parts)))[:MAX_ERROR]


def message_of(fields: dict[str, Raw], role: str) -> CapturedMessage:
    """A message with role, content and other fields; `role` where it names none."""
    named = text(value_of(fields.pop("role", NULL))) or role
    content = bytes(fields.pop("content", NULL))
    return CapturedMessage(named[:MAX_ROLE], content, _present(fields))


def _present(fields: Mapping[str, Raw]) -> dict[str, Any]:
    values = ((name, value_of(raw)) for name, raw in fields.items())
    return {name: value for name, value in values if value is not None and value != []}


def instructions(role: str, content: bytes) -> list[CapturedMessage]:
    """Instructions, each block on its own: those that stay the same are then kept once.

    Claude Code's first block is another one with every request.
    """
    if content == NULL:
        return []
    if content[:1] != b"[":
        return [CapturedMessage(role, content)]
    return [CapturedMessage(role, b"[%b]" % bytes(block)) for block in items_of(content)]


def parted(
    messages: Sequence[CapturedMessage],
) -> tuple[Sequence[CapturedMessage], Sequence[CapturedMessage]]:
    """The instructions with which a prompt begins, and the rest."""
    leading = list(takewhile(lambda message: message.role in INSTRUCTING, messages))
    system = [block for one in leading for block in instructions(one.role, one.content)]
    return system, messages[len(leading) :]


class Merged:
    """An object that comes in deltas: texts grow, objects and lists merge, all else is set."""

    __slots__ = ("_texts", "_values")

    def __init__(self, start: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = dict(start or {})
        self._texts: dict[str, list[str]] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        """Take a delta in."""
        values = self._values
        for name, value in delta.items():
            if isinstance(value, str):
                self._add_text(name, value)
            elif isinstance(value, dict):
                if not isinstance(values.get(name), Merged):
                    values[name] = Merged(mapping(values.get(name)))
                values[name].add(value)
            elif isinstance(value, list):
                if not isinstance(values.get(name), _MergedItems):
                    values[name] = _MergedItems()
                values[name].add(value)
            elif value is not None:
                values[name] = value

    def _add_text(self, name: str, piece: str) -> None:
        if name not in _NAMING:
            self.append(name, piece)
        elif piece:
            self._values.setdefault(name, piece)

    def append(self, name: str, piece: str) -> None:
        """Let the text `name` grow."""
        self._texts.setdefault(name, []).append(piece)

    def whole(self) -> dict[str, Any]:
        """What has come."""
        whole = {name: _whole(value) for name, value in self._values.items()}
        for name, pieces in self._texts.items():
            before, grown = whole.get(name), "".join(pieces)
            if isinstance(before, list):
                # Parts came first, such as thoughts, and then what is said.
                whole[name] = [*before, {"type": "text", "text": grown}]
            else:
                whole[name] = text(before) + grown
        return whole


class _MergedItems:
    """A list that comes in deltas, of which each names its place."""

    __slots__ = ("_items", "_last", "_named", "_opened", "_plain")

    def __init__(self) -> None:
        self._items: dict[int, Merged] = {}
        self._last = -1
        self._named: dict[str, int] = {}
        """Place of each item that has an id."""
        self._opened: dict[int, int] = {}
        """Place of the latest item of each index that several items name."""
        self._plain: list[Any] = []

    def add(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, dict):
                self._items.setdefault(self._place(value), Merged()).add(value)
            else:
                self._plain.append(value)

    def _place(self, value: Mapping[str, Any]) -> int:
        index, name = value.get("index"), text(value.get("id"))
        if name and name in self._named:
            return self._named[name]
        if type(index) is not int:
            # Some servers name none: then a call without an id goes on where the last one was.
            goes_on = "function" in value and not name and self._last >= 0
            place = self._last if goes_on else self._last + 1
        else:
            place = self._opened.get(index, index)
            if name and place in self._named.values():
                # Others send every call whole, all with the same index.
                place = self._opened[index] = self._last + 1
        if name:
            self._named[name] = place
        self._last = max(self._last, place)
        return place

    def whole(self) -> list[Any]:
        whole = list(self._plain)
        for _, item in sorted(self._items.items()):
            fields = item.whole()
            fields.pop("index", None)
            whole.append(fields)
        return whole


def _whole(value: Any) -> Any:
    return value.whole() if isinstance(value, Merged | _MergedItems) else value

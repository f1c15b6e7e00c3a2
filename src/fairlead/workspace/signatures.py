"""The head of a definition in one line, as maps show it."""

from __future__ import annotations

import re

MAX_SIGNATURE = 200
"""Characters."""
_WINDOW = 4 * MAX_SIGNATURE
"""Bytes of a header that are looked at: enough for comments and indentation in between."""

_LINE_ONLY = frozenset({"constant", "variable", "macro", "property", "field"})
"""Kinds whose values would fill a signature."""

_COMMENT = {"python": r"\s#.*$", "ruby": r"\s#.*$", "bash": r"\s#.*$", "lua": r"\s--.*$"}
_LINE_END = {language: re.compile(pattern) for language, pattern in _COMMENT.items()}
_SLASHES = re.compile(r"\s//.*$")
_ATTRIBUTES = re.compile(r"^(?:@[\w.]+(?:\([^()]*\))?\s+|#?\[[^\[\]]*\]\s*)+")
_OPEN = re.compile(r"([(\[]) ")
_CLOSE = re.compile(r",? ([)\]])")
_TAIL = re.compile(r"(?:\s*[{=;,])+\s*$")


def signature(language: str, kind: str, data: bytes, start: int, end: int) -> str:
    """The bytes from `start` to `end`, joined to one line of at most 200 characters.

    Comments at the ends of lines, annotations and what opens a body are left out.
    """
    text = data[start : min(end, start + _WINDOW)].decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines()]
    if kind in _LINE_ONLY:
        lines = lines[:1]
    if len(lines) > 1:
        comment = _LINE_END.get(language, _SLASHES)
        lines = [comment.sub("", " " + line).strip() for line in lines]
    joined = " ".join(line for line in lines if line)
    if len(lines) > 1:
        joined = _CLOSE.sub(r"\1", _OPEN.sub(r"\1", joined))
    return _TAIL.sub("", _ATTRIBUTES.sub("", joined))[:MAX_SIGNATURE]

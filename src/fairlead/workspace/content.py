"""From bytes to text and its lines; pure, though guessing an encoding takes its time."""

from __future__ import annotations

import codecs

from fairlead.errors import RequestError
from fairlead.workspace.base import Content, TextRange

MAX_GUESSED_BYTES = 64 * 1024
"""Of a file in an unknown encoding, so much is looked at to find out which it is."""

_COMMONEST = "cp1252"
"""Of the encodings with one byte a character."""

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def is_binary(data: bytes) -> bool:
    """Whether it is no text: there are NUL bytes, and no mark of UTF-16 or UTF-32 before them."""
    return b"\0" in data and not _is_wide(data)


def decode(content: Content, known: str | None = None) -> tuple[str, str]:
    """The text and the name of its encoding; a byte order mark is not part of the text.

    What a byte order mark says, else `known` (as this content was decoded before), else UTF-8 where
    it is valid, else what charset_normalizer finds likely. Raises `RequestError` 415 for what is
    binary or in no encoding that can be told.
    """
    encoding = _marked(content.data) or known or "utf-8"
    if is_binary(content.data):
        raise _no_text(content, "it is binary")
    text = _decoded(content.data, encoding)
    if text is None and encoding == "utf-8":
        encoding = _guessed(content)
        text = _decoded(content.data, encoding)
    if text is None:
        raise _no_text(content, f"it is not valid {encoding}")
    return text, encoding.removesuffix("-sig")


def lines_of(
    content: Content, first: int | None = None, last: int | None = None, known: str | None = None
) -> TextRange:
    """The lines `first` to `last` (from 1, both included; all where left out).

    A line ends with a line feed; what the file has before it stays. Past the end there is nothing.
    Raises `RequestError` 415 as `decode` does, 422 for a range that is none.
    """
    start = 1 if first is None else first
    if start < 1:
        raise _no_range("first", "lines are numbered from 1")
    if last is not None and last < start:
        raise _no_range("last", "the last line cannot come before the first")
    text, encoding = decode(content, known)
    count = text.count("\n") + (text != "" and not text.endswith("\n"))
    end = count if last is None else min(last, count)
    if start > count:
        text, end = "", start - 1
    elif start > 1 or end < count:
        text = _between(text, start, end)
    return TextRange(
        path=content.path,
        text=text,
        encoding=encoding,
        first=start,
        last=end,
        lines=count,
        etag=content.etag,
    )


def _between(text: str, first: int, last: int) -> str:
    lines = text.split("\n", last)
    chosen = lines[first - 1 : last]
    # What stands after the last piece is a line end, unless the text was at its end.
    return "\n".join(chosen) + ("\n" if len(lines) > last else "")


def _marked(data: bytes) -> str | None:
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def _is_wide(data: bytes) -> bool:
    return _marked(data) in {"utf-16", "utf-32"}


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _guessed(content: Content) -> str:
    # Late: it takes longer to import than most files to read.
    from charset_normalizer import from_bytes  # noqa: PLC0415 - see above

    matches = from_bytes(_beginning(content.data))
    best = matches.best()
    if best is None:
        raise _no_text(content, "its encoding cannot be told")
    # Of those that look as sane the library takes one by chance, and an "è" becomes a "č".
    sane = (match for match in matches if match.chaos <= best.chaos)
    if any(_COMMONEST in match.could_be_from_charset for match in sane):
        return _COMMONEST
    return best.encoding.replace("_", "-")


def _beginning(data: bytes) -> bytes:
    """Whole lines, where it is cut, so that no character is."""
    if len(data) <= MAX_GUESSED_BYTES:
        return data
    return data[: data.rfind(b"\n", 0, MAX_GUESSED_BYTES) + 1] or data[:MAX_GUESSED_BYTES]


def _no_text(content: Content, complaint: str) -> RequestError:
    message = f"{content.path!r} cannot be read as text: {complaint}; read its bytes"
    return RequestError(415, message, code="encoding")


def _no_range(param: str, complaint: str) -> RequestError:
    return RequestError(422, complaint, param=param, code="range")

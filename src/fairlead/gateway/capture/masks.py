"""What must not be stored: patterns, and their matches replaced in texts and JSON values (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fairlead.errors import ConfigurationError
from fairlead.gateway.capture.base import UnreadableError
from fairlead.gateway.capture.forms import UNREADABLE, encode, value_of

MASKED = "[masked]"
WINDOW = 32_768
"""Characters in which a match may begin, searched at a time: a search holds the interpreter."""
LONGEST = 16_384
"""Characters of a match that are surely replaced; a longer one may be replaced in part."""

# Each begins with a letter of its own, for which the engine looks quickly. What stands before a
# prefix is looked at behind it for the same reason: "task-" is no key, but one may follow an escape
# in a JSON text within a string, or a terminal's colour. Every repeat is bounded, and none begins
# again within another's reach: a search holds the interpreter, and the texts are anybody's.
_SECRETS = (
    r"sk-(?:(?<![A-Za-z0-9]sk-)|(?<=\\[bfnrt]sk-)|(?<=\x1b\[Ksk-)|(?<=[0-9;\[]msk-))"
    r"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic
    r"sk_live_[A-Za-z0-9]{16,}",  # Stripe
    r"rk_live_[A-Za-z0-9]{16,}",
    r"gh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"AKIA[0-9A-Z]{16}",  # AWS
    r"ASIA[0-9A-Z]{16}",
    r"AIza[0-9A-Za-z_-]{35}",  # Google
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"npm_[A-Za-z0-9]{36}",
    r"eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{10,}",  # JSON Web Tokens
    *(rf"{word}\s{{1,4}}[A-Za-z0-9._~+/-]{{16,}}=*" for word in ("Bearer", "bearer", "BEARER")),
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----BEGIN)[\s\S]){0,12000}?"
    r"(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
)
BUILT_IN: Mapping[str, str] = {"secrets": "|".join(_SECRETS)}
"""Patterns by name."""


class Masks:
    """Replaces what matches any of some patterns with `MASKED`.

    A pattern is a regular expression (Python's `re`) or a name in `BUILT_IN`. Patterns are the
    operator's and trusted: one with repeats inside of repeats may take for ever on some texts, and
    holds up the whole process.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raises `ConfigurationError` for what is no regular expression."""
        self._patterns = [_compiled(pattern) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def text(self, text: str) -> str:
        """`text` with its matches replaced."""
        for pattern in self._patterns:
            text = _replaced(pattern, text)
        return text

    def json(self, content: bytes) -> bytes:
        """A JSON text with the matches in its strings replaced; the same where there are none.

        Raises `UnreadableError` for what is no JSON, or nested too deeply.
        """
        if not self._patterns:
            return content
        try:
            value = value_of(content)
            masked = self.value(value)
            # A field that is named twice has one value, and both stand in the text.
            if masked is value and self._leaves(content):
                return content
            return encode(masked)
        except UNREADABLE as error:
            raise UnreadableError(f"no JSON to mask: {type(error).__name__}") from error

    def _leaves(self, content: bytes) -> bool:
        text = content.decode("utf-8", "replace")
        return self.text(text) == text

    def value(self, value: Any) -> Any:
        """A JSON value with the matches in its strings replaced; the same where there are none.

        The names of fields are left as they are.
        """
        if isinstance(value, str):
            masked = self.text(value)
            return value if masked == value else masked
        if isinstance(value, Mapping):
            fields = {name: self.value(item) for name, item in value.items()}
            return fields if any(fields[name] is not value[name] for name in value) else value
        if isinstance(value, list):
            items = [self.value(item) for item in value]
            return items if _differs(items, value) else value
        return value


def _differs(items: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(item is not other for item, other in zip(items, others, strict=True))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(BUILT_IN.get(pattern, pattern))
    except re.error as error:
        fix = f"it is no regular expression: {error}"
        raise ConfigurationError("capture.mask", pattern, fix) from error


def _replaced(pattern: re.Pattern[str], text: str) -> str:
    if len(text) <= WINDOW:
        return pattern.sub(lambda _: MASKED, text)
    pieces, done = [], 0
    for start, end in _matches(pattern, text):
        pieces += [text[done:start], MASKED]
        done = end
    return "".join([*pieces, text[done:]])


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """The matches in a long text, found window by window, each seeing a little of the next."""
    place = 0
    while place < len(text):
        border = place + WINDOW
        for match in pattern.finditer(text, place, border + LONGEST):
            if match.start() >= border:
                break
            yield match.span()
            border = max(border, match.end())
        place = border

"""Masks secrets in text that is about to be logged (pure)."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

MASK = "***"
# One of these is in every text that a pattern below can match; looking for them is far cheaper.
_MARKERS = ("sk-", "bearer", "key", "authorization", "://")
_PATTERNS = (
    # Keys of OpenAI (sk-, sk-proj-) and Anthropic (sk-ant-).
    (re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{6,}"), f"sk-{MASK}"),
    # Header fields as HTTP, JSON, repr of a dict and repr of a list of byte pairs write them.
    (
        re.compile(
            r"(?i)((?:api[_-]?key|authorization)\\?[\"']?[ \t]*[:=,][ \t]*(?:b(?=[\"']))?\\?[\"']?)"
            r"(?:(?:bearer|basic|digest|token)[ \t]+)?[^\s\"',;\\]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer)[ \t]+[A-Za-z0-9._~+/=-]+"), rf"\1 {MASK}"),
    # RFC 3986 section 3.2.1: userinfo before the last @ of the authority.
    (re.compile(r"(://[^\s/:@\"']*:)[^\s/\"']+@"), rf"\1{MASK}@"),
)
_SHORTEST = 4


class Redactor:
    """Replaces registered secrets, and what looks like one, by `***`.

    Patterns: `sk-…` keys, `Bearer …`, values of `x-api-key`, `authorization` and their like, and
    passwords in URLs.
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._literal: re.Pattern[str] | None = None

    def register(self, secret: str) -> None:
        """Mask `secret` from now on, also as JSON, repr and percent-encoding would write it.

        Secrets of fewer than 4 characters are left to the patterns: as literals they would mask
        parts of ordinary words.
        """
        if len(secret) < _SHORTEST:
            return
        self._secrets |= _spellings(secret)
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._literal = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        if self._literal is not None:
            text = self._literal.sub(MASK, text)
        lowered = text.lower()
        if any(marker in lowered for marker in _MARKERS):
            for pattern, replacement in _PATTERNS:
                text = pattern.sub(replacement, text)
        return text


def _spellings(secret: str) -> set[str]:
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(secret, safe=""),
    }

"""Values as they may be shown: in errors, on the console, in logs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pydantic import Secret

_SECRET_NAME = re.compile(
    r"(^|[_-])(api[_-]?keys?|keys?|token|secret|password|passwd|authorization|bearer)$",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(sk|pk|rk|gsk|xai|hf|ghp|glpat)[-_][\w-]{6,}"  # as the providers mark theirs
    r"|AIza\w{10,}|Bearer\s.*"
    r"|(?=.*[0-9])(?=.*[a-z])[A-Za-z0-9_+=]{24,}"  # random; names of variables are upper case
    r"|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)
_USER_INFO = re.compile(r"://\S*@")
_QUERY = re.compile(r"(://[^?\s]*)\?\S*")
_MAX_SHOWN = 80


def names_secret(key: str) -> bool:
    """Whether a key of this name would hold a secret itself (`api_key`, `password`, `token`)."""
    return _SECRET_NAME.search(key) is not None


def looks_secret(text: str) -> bool:
    """Whether `text` may be a key: a provider's prefix, or 24 and more random characters."""
    return _KEY.fullmatch(text) is not None


def redact_url(text: str) -> str:
    """`text` without the user, the password and the query that a URL in it may carry."""
    # Greedy up to the last @: a password may itself hold one, and too much hidden does no harm.
    return _QUERY.sub(r"\1?***", _USER_INFO.sub("://***@", text))


def carries_password(url: str) -> bool:
    """Whether the URL holds a password, in its user part or (redis-py reads it there) its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url  # not a URL at all; be careful with it
    return bool(parts.password) or "password" in parse_qs(parts.query)


def shown(value: object) -> str:
    """`value` in TOML's spelling, short and without secrets."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, Path, SecretUrl)):
        return _shown_text(str(value))
    if isinstance(value, (list, tuple)):
        parts = [shown(item) for item in value[:5]] + ["…"] * (len(value) > 5)
        return f"[{', '.join(parts)}]"
    if isinstance(value, dict):
        return "{…}"
    return str(value)


def _shown_text(text: str) -> str:
    if looks_secret(text):
        return f'"***" ({len(text)} characters, hidden: it may be a key)'
    text = redact_url(text)
    if len(text) > _MAX_SHOWN:
        text = text[:_MAX_SHOWN] + "…"
    return json.dumps(text, ensure_ascii=False)


class SecretUrl(Secret[str]):
    """A URL that may carry a password; shown without it, whole by `get_secret_value()`."""

    def _display(self) -> str:
        return redact_url(self.get_secret_value())

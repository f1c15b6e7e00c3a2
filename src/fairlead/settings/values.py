"""The kinds of values that settings have: what is accepted, and the words for it.

A validator gets what TOML, a variable or a flag gave, and is idempotent: its own result passes it
again unchanged. What is wrong is a `ValueError` whose text says what to do.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo

from fairlead.conversations import POSTGRES_SCHEMES
from fairlead.gateway.stores import REDIS_SCHEMES
from fairlead.settings.redaction import SecretUrl

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": KiB, "MIB": MiB, "GIB": GiB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?B|B)?", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_MAX_NAME = 200
_MAX_PATTERN = 1000
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Allowed:
    """The words for what a setting accepts, used by errors and by the guide."""

    text: str


SIZE = Allowed('a size such as "32MiB", or a number of bytes; 1 byte to 1024GiB')


def size_text(size: int) -> str:
    """A number of bytes in the largest unit that divides it: 33554432 is "32MiB"."""
    for unit, factor in (("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError('must be a size such as "32MiB", "1.5GB" or a number of bytes')
    return int(float(found[1]) * _UNITS[(found[2] or "B").upper()])


def _several(value: object) -> object:
    """One string means a list of one; TOML's lists become tuples, which stay as they are."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _patterns(value: object) -> object:
    patterns = _several(value)
    if isinstance(patterns, tuple):
        for pattern in patterns:
            if isinstance(pattern, str):
                _check_pattern(pattern)
        if not patterns:
            raise ValueError('must name at least one model or pattern, such as "*"')
    return patterns


def _policies(value: object) -> object:
    if isinstance(value, dict):
        for pattern in value:
            _check_pattern(pattern)
    return value


def _check_pattern(pattern: str) -> None:
    if not pattern or len(pattern) > _MAX_NAME or any(c.isspace() for c in pattern):
        raise ValueError(
            f"a model pattern has 1 to {_MAX_NAME} characters and no white space; "
            "* and ? stand for any characters"
        )


def _path(value: object, info: ValidationInfo) -> object:
    """`~` becomes the home directory; a relative path is one beside the file that names it."""
    if not isinstance(value, (str, Path)):
        return value
    if not str(value):
        raise ValueError("must be a path, not empty")
    places: Mapping[str, Path] = info.context or {}
    path = Path(value)
    if path.parts and path.parts[0] == "~" and "home" in places:
        path = places["home"].joinpath(*path.parts[1:])
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError("must name a user that exists after ~") from None
    return places.get("base", Path()) / path


def _paths(value: object, info: ValidationInfo) -> object:
    paths = _several(value)
    return tuple(_path(path, info) for path in paths) if isinstance(paths, tuple) else paths


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port  # parsed only when read
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("must not hold white space or control characters")
    return parts


def _check_http(value: str) -> None:
    parts = _split(value)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError('must be a URL such as "https://api.example.com/v1"')
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or a password: use key_env or key_file")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query (?…) or a fragment (#…)")


def _base_url(value: str) -> str:
    _check_http(value)
    return value.rstrip("/")


def _base_urls(value: object) -> object:
    """One URL stays one; a list becomes a tuple of URLs to different places."""
    if isinstance(value, str):
        return _base_url(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be an http:// or https:// URL, or a list of them")
    if not value:
        raise ValueError("must name at least one server")
    urls: dict[tuple[object, ...], str] = {}
    for number, item in enumerate(value, 1):
        try:
            url = _base_url(item if isinstance(item, str) else "")
        except ValueError as error:
            raise ValueError(f"server {number} {error}") from None
        place = _place(url)
        if place in urls:
            first = list(urls).index(place) + 1
            raise ValueError(f"server {number} is server {first} again: name each server once")
        urls[place] = url
    return tuple(urls.values())


def _place(url: str) -> tuple[object, ...]:
    """Where a URL leads, however it is spelled."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme], parts.path


def _url_path(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value.startswith("/") or value.startswith("//"):
        raise ValueError('must be a path from the server\'s root, such as "/health"')
    if not (value.isascii() and value.isprintable()) or set(value) & set(" ?#"):
        raise ValueError("must not hold white space, a query (?…) or a fragment (#…)")
    return value


def _metrics_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.startswith("/"):
        return _url_path(value)
    if _split(value).scheme not in DEFAULT_PORTS:
        raise ValueError('must be a path such as "/metrics", or a whole http:// or https:// URL')
    _check_http(value)
    return value


def _proxy(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = _split(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError('must be a URL such as "http://proxy.example.com:3128", or "" for none')
    return SecretUrl(value)


def _cache_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = _split(value)
    if value != "sqlite" and (parts.scheme not in REDIS_SCHEMES or not parts.hostname):
        raise ValueError('must be "sqlite", "redis://HOST:PORT/DB" or "rediss://HOST:PORT/DB"')
    return SecretUrl(value)


def _storage_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = _split(value)
    if value != "sqlite" and (parts.scheme not in POSTGRES_SCHEMES or not parts.path.strip("/")):
        raise ValueError('must be "sqlite" or "postgresql://USER@HOST:PORT/DATABASE"')
    return SecretUrl(value)


def _masks(value: object) -> object:
    value = _several(value)
    for number, pattern in enumerate(value if isinstance(value, tuple) else (), 1):
        if not isinstance(pattern, str):
            continue
        if len(pattern) > _MAX_PATTERN:
            raise ValueError(f"pattern {number} has more than {_MAX_PATTERN} characters")
        try:
            matches_nothing = re.compile(pattern).search("") is not None
        except re.error as error:
            raise ValueError(f"pattern {number} is no regular expression: {error}") from None
        if matches_nothing:
            raise ValueError(f"pattern {number} matches the empty text, and so everywhere")
    return value


def _host(value: object) -> object:
    if not isinstance(value, str):
        return value
    host = value.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST_NAME.fullmatch(host) is None:
            raise ValueError(
                'must be an address or a name such as "127.0.0.1", "::1" or "localhost", '
                "without a scheme or a port"
            ) from None
    return host


Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400), Allowed("seconds, above 0, at most 86400")]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1, le=1024 * GiB),
    SIZE,
]
Host = Annotated[str, BeforeValidator(_host), Allowed("an address or host name")]
Name = Annotated[
    str,
    Field(pattern=r"^[a-z0-9._-]{1,64}$"),
    Allowed('1 to 64 lower-case letters, digits, ".", "_" or "-"'),
]
Label = Annotated[str, Field(min_length=1, max_length=64), Allowed("1 to 64 characters")]
Strings = Annotated[
    tuple[str, ...], BeforeValidator(_several), Allowed("a list of strings, or one string")
]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=_MAX_NAME)], ...],
    BeforeValidator(_several),
    Field(min_length=1),
    Allowed("a list of names, at least one, none empty"),
]
Words = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], ...],
    BeforeValidator(_several),
    Allowed('a list of words of letters, digits, ".", "_" or "-", or one word'),
]
Patterns = Annotated[
    tuple[str, ...], BeforeValidator(_patterns), Allowed('a list of patterns such as "qwen*"')
]
FileName = Annotated[Path, BeforeValidator(_path), Allowed("a path")]
FileNames = Annotated[
    tuple[Path, ...], BeforeValidator(_paths), Allowed("a list of paths, or one path")
]
BaseUrls = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_base_urls),
    Allowed("an http:// or https:// URL, or a list of them"),
]
UrlPath = Annotated[
    str, BeforeValidator(_url_path), Allowed('a path from the server\'s root, such as "/health"')
]
MetricsUrl = Annotated[
    str,
    BeforeValidator(_metrics_url),
    Allowed('a path such as "/metrics", or an http:// or https:// URL'),
]
ProxyUrl = Annotated[
    SecretUrl,
    BeforeValidator(_proxy),
    Allowed('an http:// or https:// URL, or "" for none'),
]
CacheUrl = Annotated[
    SecretUrl,
    BeforeValidator(_cache_url),
    Allowed('"sqlite", or a redis:// or rediss:// URL'),
]
StorageUrl = Annotated[
    SecretUrl,
    BeforeValidator(_storage_url),
    Allowed('"sqlite", or a postgresql:// URL'),
]
Masks = Annotated[
    tuple[str, ...],
    BeforeValidator(_masks),
    Field(max_length=100),
    Allowed('a list of regular expressions, or "secrets" for those of common keys'),
]
Policy = Literal["deterministic", "all", "off"]
Policies = Annotated[
    Mapping[str, Policy],
    BeforeValidator(_policies),
    Allowed('a table of model pattern = "deterministic", "all" or "off"'),
]

"""Where cached answers persist; one contract, one test suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.errors import ConfigurationError
from fairlead.gateway.base import ResponseStore

CACHE_FILE = "responses.sqlite"
REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys")

_KNOWN = ", ".join(f"{scheme}://" for scheme in REDIS_SCHEMES)


def open_store(
    url: str,
    data_dir: Path,
    *,
    max_bytes: int,
    ttl: float,
    on_warning: Callable[[str], None],
    clock: Clock = SYSTEM_CLOCK,
) -> ResponseStore:
    """The persistent tier that `url` names, not yet open: `sqlite`, or a Redis or Valkey URL.

    `max_bytes` bounds the file; Redis evicts by its own `maxmemory`. Raises `ConfigurationError`,
    and `DependencyMissingError` where the extra is not installed.
    """
    # Imported late: a node loads only the store that it uses.
    if url == "sqlite":
        from fairlead.gateway.stores.sqlite import SqliteResponseStore  # noqa: PLC0415 - see above

        return SqliteResponseStore(
            data_dir / CACHE_FILE, max_bytes=max_bytes, ttl=ttl, clock=clock, on_warning=on_warning
        )
    scheme, separator, _ = url.partition("://")
    if separator and scheme in REDIS_SCHEMES:
        from fairlead.gateway.stores.redis import RedisResponseStore  # noqa: PLC0415 - see above

        return RedisResponseStore(url, ttl=ttl, clock=clock, on_warning=on_warning)
    # Only what stands before the address is shown: the rest may hold a password.
    raise ConfigurationError(
        "cache.url", f"{scheme}://…" if separator else "…", f"use sqlite, or {_KNOWN}"
    )

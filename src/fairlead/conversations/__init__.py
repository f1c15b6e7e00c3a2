"""What was said, durably: threads, their log, their projections, and who may see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.errors import ConfigurationError

if TYPE_CHECKING:
    from fairlead.conversations.memory import MemoryThreadStore
    from fairlead.conversations.postgres import PostgresThreadStore
    from fairlead.conversations.sqlite import SqliteThreadStore

THREADS_FILE = "threads.sqlite"
POSTGRES_SCHEMES = ("postgresql", "postgres")


def open_thread_store(
    url: str, data_dir: Path, *, origin: str = "local", clock: Clock = SYSTEM_CLOCK
) -> SqliteThreadStore | MemoryThreadStore | PostgresThreadStore:
    """The store that `url` names, not yet open: `sqlite`, `memory`, or a PostgreSQL URL.

    `origin` is the region of this node. Raises `ConfigurationError`, and `DependencyMissingError`
    where the extra is not installed.
    """
    # Imported late: a node loads only the store that it uses.
    if url == "sqlite":
        from fairlead.conversations.sqlite import SqliteThreadStore  # noqa: PLC0415 - see above

        return SqliteThreadStore(data_dir / THREADS_FILE, origin=origin, clock=clock)
    if url == "memory":
        from fairlead.conversations.memory import MemoryThreadStore  # noqa: PLC0415 - see above

        return MemoryThreadStore(origin)
    scheme, separator, _ = url.partition("://")
    if separator and scheme in POSTGRES_SCHEMES:
        from fairlead.conversations.postgres import PostgresThreadStore  # noqa: PLC0415 - see above

        return PostgresThreadStore(url, origin=origin, clock=clock)
    # Only what stands before the address is shown: the rest may hold a password.
    shown = f"{scheme}://…" if separator else "…"
    raise ConfigurationError("storage.url", shown, "use sqlite, memory or postgresql://…")

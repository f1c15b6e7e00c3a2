"""What the commands on threads share: the store they work on, and the progress they show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Protocol, cast

import typer

from fairlead.errors import ConfigurationError

if TYPE_CHECKING:
    from fairlead.conversations.postgres import PostgresThreadStore
    from fairlead.conversations.sqlite import SqliteThreadStore

Config = Annotated[
    Path | None,
    typer.Option(help="Read this file instead of looking for fairlead.toml.", metavar="PATH"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where the node keeps its data.",
        metavar="PATH",
        show_default="~/.local/share/fairlead",
    ),
]
AnyTenant = Annotated[
    str | None, typer.Option(help="Only this tenant's threads.", show_default="all")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

STANDARD = Path("-")
"""Standard input or output, in the place of a file."""


class Telling(Protocol):
    """Is told how much is done, and of how much, where that is known."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


@dataclass(frozen=True)
class Place:
    """Where threads are kept, as the options of a command say it."""

    config: Path | None
    data_dir: Path | None

    def store(self, *, make: bool = False) -> SqliteThreadStore | PostgresThreadStore:
        """The store, not yet open; `make`: where there is none yet, one is made.

        Raises `ConfigurationError`.
        """
        # Imported late, as everywhere in the commands: `--help` stays fast without it.
        from fairlead.app.places import prepare_data_dir  # noqa: PLC0415 - see above
        from fairlead.conversations import THREADS_FILE, open_thread_store  # noqa: PLC0415 - same
        from fairlead.settings import load_settings  # noqa: PLC0415 - same

        settings = load_settings(self.config, os.environ, {"server.data_dir": self.data_dir})
        url = settings.storage.url.get_secret_value()
        folder = settings.server.data_dir.expanduser()
        if url == "sqlite" and make:
            prepare_data_dir(folder)
        elif url == "sqlite" and not (folder / THREADS_FILE).exists():
            fix = f"no {THREADS_FILE} is there: name where the node keeps it with --data-dir"
            raise ConfigurationError("server.data_dir", str(folder), fix)
        store = open_thread_store(url, folder, origin=settings.server.region or "local")
        # The settings allow no other: what is in a node's memory nobody else can read.
        return cast("SqliteThreadStore | PostgresThreadStore", store)


@contextmanager
def progress(what: str) -> Iterator[Telling]:
    """Shows how far something has come, on standard error, where that is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - rich loads late
    from rich.progress import (  # noqa: PLC0415 - same
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, total: int | None = None, /) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole, for its owner only; or stdout."""
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
        with path.open("wb") as file:
            yield file
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read, or stdin."""
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


def print_json(value: Any) -> None:
    """A value for scripts, on standard output."""
    import msgspec  # noqa: PLC0415 - loads late

    # Control characters are escaped in JSON but for DEL and C1, which are so here.
    text = msgspec.json.encode(value).decode()
    typer.echo("".join(f"\\u{ord(c):04x}" if "\x7f" <= c <= "\x9f" else c for c in text))

"""`fairlead threads export|import|rebuild|verify|backup`: the log of threads as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.threadstore import (
    STANDARD,
    AnyTenant,
    AsJson,
    Config,
    DataDir,
    Place,
    opened,
    print_json,
    progress,
    written,
)

if TYPE_CHECKING:
    from fairlead.conversations.audit import Difference

# ruff: noqa: PLC0415 - what the commands work with loads late, so that `--help` stays fast


def export_threads(
    file: Annotated[Path, typer.Argument(help="JSON lines; - is standard output.")] = STANDARD,
    thread: Annotated[list[str] | None, typer.Option(help="Only this one, repeatable.")] = None,
    tenant: AnyTenant = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Write threads, with all that happened to them, to a file for `import`.

    With --thread they are those of one tenant, "local" if none is named.
    """
    from fairlead.conversations.lines import export_events

    async def write() -> None:
        of = tenant or "local" if thread else tenant
        async with Place(config, data_dir).store() as store:
            with written(file) as out, progress("events") as tell:
                await export_events(
                    store, out.write, tenant=of, threads=thread or (), progress=tell
                )

    asyncio.run(write())


def import_threads(
    file: Annotated[Path, typer.Argument(help="What was exported; - is standard input.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Add exported threads to those that are there; what is there already stays as it is."""
    from fairlead.conversations.lines import import_events

    async def read() -> tuple[int, int]:
        with opened(file) as lines:
            async with Place(config, data_dir).store(make=True) as store:
                with progress("events") as tell:
                    return await import_events(store, lines, tell)

    done, new = asyncio.run(read())
    typer.echo(f"{done:,} events read, {new:,} of them new")


def rebuild(tenant: AnyTenant = None, config: Config = None, data_dir: DataDir = None) -> None:
    """Make everything that can be read of threads anew from their log."""
    from fairlead.conversations import audit

    async def work() -> int:
        async with Place(config, data_dir).store() as store:
            with progress("threads") as tell:
                return await audit.rebuild(store, tenant, tell)

    typer.echo(f"{asyncio.run(work()):,} threads rebuilt")


def verify(
    as_json: AsJson = False,
    tenant: AnyTenant = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Check the database, and whether all that can be read of threads is what their log says.

    Exit status 1 where something is wrong; `rebuild` mends it if the log itself is whole.
    """
    from fairlead.conversations import audit

    async def work() -> list[Difference]:
        async with Place(config, data_dir).store() as store:
            with progress("threads") as tell:
                return await audit.verify(store, tenant, tell)

    found = asyncio.run(work())
    if as_json:
        print_json(found)
    else:
        from fairlead.cli.transcript import one_line

        for one in found:
            where = f"{one.tenant}/{one.thread}: " if one.thread else ""
            typer.echo(one_line(where + one.what))
        if not found:
            typer.echo("all is well")
    if found:
        raise typer.Exit(1)


def backup(
    file: Annotated[Path, typer.Argument(help="A new file; in place of threads.sqlite it works.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Copy the database, as it is at one moment, while it is in use."""

    if str(file) == "-":
        raise typer.BadParameter("a file's name: `threads export -` writes to standard output")

    async def work() -> None:
        async with Place(config, data_dir).store() as store:
            with progress("pages") as tell:
                await store.backup(file, tell)

    asyncio.run(work())

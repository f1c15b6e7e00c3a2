"""`fairlead mcp`: the workspace tools of one directory over MCP, on standard input and output."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.cli.threadstore import DataDir

if TYPE_CHECKING:
    from fairlead.workspace.tools import Opened

# ruff: noqa: PLC0415 - what the command works with loads late, so that `--help` stays fast


def mcp(
    path: Annotated[
        Path, typer.Argument(help="The directory to work in.", exists=True, file_okay=False)
    ] = Path(),
    allow_write: Annotated[
        bool, typer.Option("--allow-write", help="Offer the tool write_file as well.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Serve a directory to an assistant: files, search, repository map, dependencies.

    The assistant starts it and speaks MCP with it on standard input and output. What files mean is
    kept in the node's data directory, and shared with it.
    """
    asyncio.run(_serve(path.resolve(), data_dir, writable=allow_write))


async def _serve(path: Path, data_dir: Path | None, *, writable: bool) -> None:
    from fairlead.web.mcp import serve_stdio

    async with _opened(path, data_dir) as opened:

        @asynccontextmanager
        async def lease(_scope: Any, _name: str | None) -> AsyncIterator[Opened]:
            yield opened

        await serve_stdio(lease, writable=writable)


@asynccontextmanager
async def _opened(path: Path, data_dir: Path | None) -> AsyncIterator[Opened]:
    from fairlead.app.places import prepare_data_dir
    from fairlead.app.workspaces import OpenedWorkspace
    from fairlead.settings import load_settings
    from fairlead.workspace.analyses import ANALYSES_FILE, SqliteAnalysisStore
    from fairlead.workspace.files import FileSystemCache
    from fairlead.workspace.repository import RepositoryAnalysisCache

    settings = load_settings(None, os.environ, {"server.data_dir": data_dir})
    file = prepare_data_dir(settings.server.data_dir) / ANALYSES_FILE
    async with (
        SqliteAnalysisStore(file) as store,
        OpenedWorkspace(
            FileSystemCache(path), RepositoryAnalysisCache(path, store=store)
        ) as opened,
    ):
        yield opened

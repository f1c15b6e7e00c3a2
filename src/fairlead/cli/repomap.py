"""`fairlead repomap`: the map of a directory, or which of its files uses which."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.threadstore import AsJson, DataDir, Telling, print_json, progress

if TYPE_CHECKING:
    from fairlead.workspace.base import DependencyGraph, Progress, RepositoryMap
    from fairlead.workspace.repository import RepositoryAnalysisCache

_DEFAULT_TOKENS = 2000

# ruff: noqa: PLC0415 - what the command works with loads late, so that `--help` stays fast


def repomap(
    path: Annotated[Path, typer.Argument(help="A directory.", exists=True, file_okay=False)],
    tokens: Annotated[
        int | None, typer.Option(help="So long the map is at most.", show_default="2,000")
    ] = None,
    focus: Annotated[
        list[str] | None,
        typer.Option(
            help="What the map is to be about: a file, a directory, a glob, an identifier or "
            "words; with --dependencies a file or directory. May be repeated.",
            metavar="FILE_OR_NAME",
        ),
    ] = None,
    as_json: AsJson = False,
    dependencies: Annotated[
        bool, typer.Option("--dependencies", help="Print which file uses which instead.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the signatures of a directory that matter most, within a budget of tokens.

    What files mean is kept in the node's data directory: next time only those that nobody has
    seen before are analysed.
    """
    entries = focus or []
    if dependencies:
        if tokens is not None:
            message = "it is the size of a map, which --dependencies does not print"
            raise typer.BadParameter(message, param_hint="--tokens")
        graph = asyncio.run(_dependencies(path, entries, data_dir))
        _show(graph, _graph_text(graph), as_json=as_json)
        _tell(_graph_summary(graph))
        return
    budget = _DEFAULT_TOKENS if tokens is None else tokens
    _check(budget, entries)
    made = asyncio.run(_map(path, budget, entries, data_dir))
    _show(made, made.text, as_json=as_json)
    _tell(_map_summary(made, budget))


async def _map(
    path: Path, tokens: int, focus: Sequence[str], data_dir: Path | None
) -> RepositoryMap:
    async with _repository(path, data_dir) as repository:
        with progress("files") as tell:
            return await repository.map(tokens, focus, progress=_teller(tell))


async def _dependencies(path: Path, paths: Sequence[str], data_dir: Path | None) -> DependencyGraph:
    async with _repository(path, data_dir) as repository:
        with progress("files") as tell:
            return await repository.dependencies(paths, progress=_teller(tell))


@asynccontextmanager
async def _repository(path: Path, data_dir: Path | None) -> AsyncIterator[RepositoryAnalysisCache]:
    from fairlead.app.places import prepare_data_dir
    from fairlead.settings import load_settings
    from fairlead.workspace.analyses import ANALYSES_FILE, SqliteAnalysisStore
    from fairlead.workspace.repository import RepositoryAnalysisCache

    settings = load_settings(None, os.environ, {"server.data_dir": data_dir})
    file = prepare_data_dir(settings.server.data_dir) / ANALYSES_FILE
    async with (
        SqliteAnalysisStore(file) as store,
        RepositoryAnalysisCache(path, store=store) as repository,
    ):
        yield repository


def _teller(tell: Telling) -> Callable[[Progress], None]:
    return lambda progress: tell(progress.done, progress.total)


def _check(tokens: int, focus: Sequence[str]) -> None:
    """Before anything is done: what no map can be made of is wrong usage."""
    from fairlead.errors import RequestError
    from fairlead.workspace.focus import checked_focus
    from fairlead.workspace.render import check_tokens

    try:
        check_tokens(tokens)
        checked_focus(focus)
    except RequestError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.param}") from error


# ---- what is printed


def _show(value: RepositoryMap | DependencyGraph, text: str, *, as_json: bool) -> None:
    from fairlead.cli.transcript import safe

    if as_json:
        print_json(value)
    else:
        # Names and signatures are anybody's: no control character reaches the terminal.
        typer.echo(safe(text), nl=False)


def _tell(summary: str) -> None:
    typer.echo(summary, err=True)


def _map_summary(made: RepositoryMap, budget: int) -> str:
    counted = "estimated" if made.counted == "approximate" else f"counted by {made.counted}"
    parts = [
        f"{made.total_files:,} files, {len(made.files):,} of them shown",
        *(f"{count:,} {reason}" for reason, count in sorted(made.skipped.items()) if count),
        *([f"{made.broken:,} with errors of syntax"] if made.broken else []),
        f"{made.tokens:,} of {budget:,} tokens, {counted}",
    ]
    return "; ".join(parts)


def _graph_text(graph: DependencyGraph) -> str:
    blocks = ("\n ".join([f"{path}:", *uses]) for path, uses in graph.uses.items())
    return "".join(f"{block}\n" for block in blocks)


def _graph_summary(graph: DependencyGraph) -> str:
    outside = {text for texts in graph.unresolved.values() for text in texts}
    return (
        f"{len(graph.uses):,} files use others; {len(outside):,} imports lead out of the directory"
    )

"""`fairlead doctor`: is everything there that a node needs, and if not, what to do about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(help="Read this file instead of looking for fairlead.toml.", metavar="PATH"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Check configuration, storage, upstreams, clock and limits.

    Every line that is not ok says what to do about it. Exit status 1 if any check failed; warnings
    leave it at 0.
    """
    from fairlead.cli.checks import findings  # noqa: PLC0415 - `--help` stays fast without it

    found = findings.examine(config, os.environ)
    typer.echo(findings.as_json(found)) if as_json else findings.show(found)
    if found.failed:
        raise typer.Exit(1)

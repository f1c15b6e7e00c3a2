"""`fairlead serve`: run a node."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fairlead.settings import Settings


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="Read this file instead of looking for fairlead.toml.", metavar="PATH"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8100")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where caches are kept.",
            metavar="PATH",
            show_default="~/.local/share/fairlead",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve.", show_default="1")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="text or json.", metavar="FORMAT", show_default="text")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Listen beyond loopback without authentication."),
    ] = False,
) -> None:
    """Run a node: the gateway with its cache, and monitoring.

    Flags override FAIRLEAD_… variables, which override fairlead.toml.

    With no upstream configured, the node runs its own simulated one and says so.
    """
    from fairlead.settings import load_settings  # noqa: PLC0415 - `--help` stays fast without it

    overrides = {
        "server.host": host,
        "server.port": port,
        "server.data_dir": data_dir,
        "server.workers": workers,
        "server.log_format": log_format,
        "server.insecure": insecure or None,
    }
    settings = load_settings(config, os.environ, overrides)
    # Read again at SIGHUP, by each worker: from the same file, even if it is away for a moment.
    reload = partial(load_settings, config or settings.file, dict(os.environ), overrides)
    settings.check_exposure()
    from fairlead.app import serve as serve_node  # noqa: PLC0415 - a refusal need not wait for it

    raise typer.Exit(serve_node(settings, lambda urls: _announce(settings, urls), reload))


def _announce(settings: Settings, urls: list[str]) -> None:
    """Say on standard output that the node listens: for people, or as one JSON line for scripts."""
    from fairlead.cli.console import banner, upstream_lines  # noqa: PLC0415 - rich loads late

    if settings.server.log_format == "json":
        names = [upstream.name for upstream in settings.upstreams]
        ready = {"event": "listening", "urls": urls, "upstreams": names}
        lines = [json.dumps(ready | {"data_dir": str(settings.server.data_dir)})]
    else:
        lines = banner(settings, urls[0], upstream_lines(settings))
    typer.echo("\n".join(lines))

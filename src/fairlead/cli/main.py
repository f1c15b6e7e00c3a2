"""The `fairlead` command: its sub-commands, exit statuses and the one place that tells errors.

Exit status: 0 fine, 1 the operation failed, 2 wrong usage (arguments or configuration).
"""

from __future__ import annotations

import io
import sys
import traceback
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fairlead.cli.doctor import doctor
from fairlead.cli.mcp import mcp
from fairlead.cli.repomap import repomap
from fairlead.cli.serve import serve
from fairlead.cli.threads import threads
from fairlead.cli.upstream import upstream
from fairlead.errors import ConfigurationError, FairleadError

FAILED = 1
WRONG_USAGE = 2


class _Commands(TyperGroup):
    """Sub-commands whose errors become a few lines on standard error and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        debug = ctx.params["debug"]
        if not debug:
            sys.excepthook = _tell_unexpected
        try:
            return super().invoke(ctx)
        except FairleadError as error:
            if debug:
                traceback.print_exc()
            else:
                from fairlead.cli.console import print_error  # noqa: PLC0415 - rich loads late

                print_error(error)
            status = WRONG_USAGE if isinstance(error, ConfigurationError) else FAILED
            raise typer.Exit(status) from None


def _tell_unexpected(
    kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    """What no command foresaw, in one line; Python exits with status 1 after it."""
    reason = str(error) if isinstance(error, OSError) else f"{kind.__name__}: {error}"
    sys.stderr.write(f"fairlead: {reason} (fairlead --debug … shows where)\n")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - only this option needs it

        typer.echo(f"fairlead {version('fairlead')}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """A self-hosted backend that makes AI coding assistants fast, cheap and dependable."""
    # Both are acted upon before: `debug` by the group above, `version` by its callback.
    del debug, version


app.command()(serve)
app.command()(upstream)
app.command()(doctor)
app.command()(repomap)
app.command()(mcp)
app.add_typer(threads, name="threads")


def run() -> None:
    """Run the command line and exit."""
    # Conversations have any characters; a terminal may not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # Not `app()`: that would put typer's own traceback printer in place of ours.
    typer.main.get_command(app)(prog_name="fairlead")

"""Exit statuses, and what is told where."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import typer

from fairlead.cli import main
from fairlead.errors import ConfigurationError, FairleadError


@pytest.fixture(autouse=True)
def excepthook() -> Iterator[None]:
    """The command line puts its own in place."""
    before = sys.excepthook
    yield
    sys.excepthook = before


def run(error: Exception | None, *flags: str) -> int:
    """The exit status of a command that raises `error`."""
    app = typer.Typer(cls=main._Commands, pretty_exceptions_enable=False)
    app.callback()(main.options)

    @app.command()
    def command() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as caught:
        typer.main.get_command(app)([*flags, "command"], prog_name="fairlead")
    return int(caught.value.code or 0)


def test_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(None) == 0
    assert run(FairleadError("it broke")) == 1
    assert run(ConfigurationError("server.port", 1, "choose another")) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "fairlead: it broke\n" in told.err
    assert "choose another" in told.err
    assert "Traceback" not in told.err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FairleadError("it broke"), "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(None) == 0
    sys.excepthook(ValueError, ValueError("odd"), None)
    assert capsys.readouterr().err == "fairlead: ValueError: odd (fairlead --debug … shows where)\n"
    sys.excepthook(OSError, OSError(28, "No space left on device", "/x"), None)
    assert "fairlead: [Errno 28] No space left on device: '/x'" in capsys.readouterr().err


def test_debug_leaves_the_interpreters_own_report() -> None:
    before = sys.excepthook
    assert run(None, "--debug") == 0
    assert sys.excepthook is before

"""What the benchmarks of traffic share: how a run is started, and how its tables are printed."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from benchmarks.machine import BenchmarkError, this_machine

LIBRARIES = ("fairlead", "uvloop", "httptools")


@dataclass(frozen=True)
class Table:
    """One table: a title, heads, rows of cells (text as shown), lines below it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """As it stands in a document."""
        lines = [f"### {self.title}", "", _line(self.heads), _line(["---"] * len(self.heads))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), ""])


@dataclass
class Sheet:
    """Everything that a run found, with what it was measured on."""

    command: str
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    figures: list[Mapping[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """All tables under one heading."""
        own = {name: importlib.metadata.version(name) for name in LIBRARIES}
        versions = ", ".join(f"{name} {text}" for name, text in (own | self.versions).items())
        heading = [
            f"Machine: {this_machine()}",
            f"Versions: {versions}",
            f"Run: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, seed {self.seed}, `{self.command}`",
        ]
        notes = [f"- {note}" for note in self.notes]
        tables = [table.markdown() for table in self.tables]
        return "\n".join([*heading, *notes, "", *tables])

    def as_json(self) -> str:
        """Every figure, and the tables as they were printed."""
        return json.dumps({"text": self.markdown(), "figures": self.figures}, indent=1)


def options_of(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """The options, with those that all of these benchmarks have added: quick, seed, json."""
    parser.add_argument("--quick", action="store_true", help="a short run; not to quote")
    parser.add_argument("--seed", type=int, default=1, help="of names, arrivals and texts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here, too")
    options = parser.parse_args(arguments)
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such directory")
    return options


def run(
    module: str, options: Namespace, measure: Callable[[Namespace, Sheet, Console], None]
) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 130 stopped."""
    # As Ctrl-C, so that the servers are ended on the way out.
    signal.signal(signal.SIGTERM, _stop)
    console = Console(stderr=True)
    words = ["python", "-m", f"benchmarks.{module}", *(["--quick"] if options.quick else [])]
    sheet = Sheet(shlex.join(words), options.seed)
    if options.quick:
        sheet.notes.append("A quick run: shorter and smaller than what is to be quoted.")
    try:
        measure(options, sheet, console)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; every server was ended.")
        return 130
    print(sheet.markdown())
    if options.json:
        options.json.write_text(sheet.as_json() + "\n", encoding="utf-8")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's contract
    raise KeyboardInterrupt


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

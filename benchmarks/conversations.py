"""Conversations at a million messages: `python -m benchmarks.conversations --quick`.

Loads, lists, searches and appends in a database of 10,000 threads and 1,000,000 messages; durable
writes against a bare table; the database operations of an interaction; growing prompts; the same on
PostgreSQL where it is installed, and on the session of the OpenAI Agents SDK.
`docs/guides/benchmarks.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import uvloop
from rich.console import Console

from benchmarks import postgres
from benchmarks.conversations_beside import CALLERS, append_table, appends, durable, fsync_note
from benchmarks.conversations_data import (
    BenchStore,
    Built,
    Plan,
    build,
)
from benchmarks.conversations_growth import grow, growth_figures, growth_table
from benchmarks.conversations_interaction import interaction_table
from benchmarks.conversations_reads import measure_reads, read_table
from benchmarks.conversations_sdk import Task, measure_session, session_table
from benchmarks.machine import Cores
from benchmarks.sheet import Sheet, options_of, run
from fairlead.conversations.sqlite import SqliteThreadStore

PARTS = ("sqlite", "durable", "interaction", "growth", "session", "postgres")
_SESSION = "FAIRLEAD_BENCH_AGENTS"


@dataclass(frozen=True)
class Effort:
    """How much is measured: the size of the database, rounds, rows, crowds, growing sessions."""

    threads: int
    messages: int
    rounds: int
    rows: dict[int, int]
    durable_rows: int
    crowds: tuple[int, ...]
    sessions: int
    turns: int


FULL = Effort(10_000, 1_000_000, 5, CALLERS, 20_000, (1, 10, 100), 400, 100)
QUICK = Effort(500, 30_000, 2, {1: 200, 10: 1_000, 100: 4_000}, 4_000, (1, 10), 40, 30)


@dataclass(frozen=True)
class Run:
    """What every part needs."""

    options: argparse.Namespace
    effort: Effort
    folder: Path
    sheet: Sheet
    console: Console

    @property
    def plan(self) -> Plan:
        """Of the big database."""
        return Plan(self.effort.threads, self.effort.messages, self.options.seed)

    def store(self, name: str) -> BenchStore:
        """A store in a file of this name."""
        return SqliteThreadStore(self.folder / f"{name}.sqlite")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversations", description=__doc__)
    parser.add_argument("--threads", type=int, help="of the big database")
    parser.add_argument("--messages", type=int, help="of the big database")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--directory", type=Path, help="where the databases go, on the disk that is to be measured"
    )
    parser.add_argument(
        "--agents-python",
        default=os.environ.get(_SESSION),
        metavar="PATH",
        help=f"Python of the environment that has openai-agents (or {_SESSION})",
    )
    options = options_of(parser, arguments)
    options.only = [part for part in options.only.split(",") if part]
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    return run("conversations", options, _measure)


def _measure(options: argparse.Namespace, sheet: Sheet, console: Console) -> None:
    effort = QUICK if options.quick else FULL
    effort = replace(
        effort,
        threads=options.threads or effort.threads,
        messages=options.messages or effort.messages,
    )
    sheet.versions["SQLite"] = apsw.sqlite_lib_version()
    if options.only != list(PARTS):
        sheet.notes.append(f"Only {', '.join(options.only)}.")
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-", dir=options.directory) as name:
        started = Run(options, effort, Path(name), sheet, console)
        sheet.notes.append(fsync_note(started.folder))
        for part in options.only:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_PARTS[part](started))


async def _sqlite(run: Run) -> None:
    store = run.store("built")
    async with store:
        built = await build(store, run.plan, run.console, "SQLite: messages")
    # Opened anew: what is measured begins with an empty cache of the engine's.
    async with run.store("built") as store:
        await _big(run, store, built, "SQLite", run.folder / "bare")


async def _big(run: Run, store: BenchStore, built: Built, backend: str, bare: Path | None) -> None:
    """Everything that is measured in the big database."""
    run.console.print(f"{backend}: reads …")
    timings = await measure_reads(store, built, run.effort.rounds, run.options.seed)
    rate = run.effort.messages / built.seconds
    size = f", {built.bytes / 1e6:,.0f} MB" if built.bytes > 0 else ""
    size = (
        f"{run.effort.threads:,} threads, {run.effort.messages:,} messages{size}, "
        f"built in {built.seconds:,.0f} s ({rate:,.0f} messages/s)"
    )
    notes = [
        f"{size}. {len(built.long)} threads have 1,000 messages; those are loaded, each at first "
        "without anything of it in the database's memory (the system's page cache is warm).",
        "One caller, in process. Lists and searches: what the user and their team may see.",
    ]
    run.sheet.tables.append(read_table(timings, f"{backend}: load, list, search", notes))
    run.sheet.figures += timings.figures(backend)
    found = await appends(store, bare, run.effort.rows, run.options.seed + 10, run.console)
    table, figures = append_table(
        f"{backend}: appends to the big database, one message a call",
        found,
        ["Each caller has a thread of its own and waits for COMMIT before the next."],
    )
    run.sheet.tables.append(table)
    run.sheet.figures += figures


async def _durable(run: Run) -> None:
    effort, seed = run.effort, run.options.seed
    table, figures = await durable(
        run.folder, run.store, effort.durable_rows, 2 * effort.rounds - 1, seed, run.console
    )
    run.sheet.tables.append(table)
    run.sheet.figures += figures


async def _interaction(run: Run) -> None:
    run.console.print("Interactions in virtual time …")
    table, figures = await interaction_table(
        lambda name: run.store(f"interaction-{name}"), run.effort.crowds, run.options.seed
    )
    run.sheet.tables.append(table)
    run.sheet.figures += figures


async def _growth(run: Run) -> None:
    effort, path = run.effort, run.folder / "growth.sqlite"
    async with SqliteThreadStore(path) as store:
        points = await grow(
            store, path, effort.sessions, effort.turns, run.options.seed, run.console
        )
    # Closing writes the log into the file.
    points[-1] = points[-1].at(path)
    run.sheet.tables.append(growth_table(points, effort.sessions, effort.turns))
    run.sheet.figures += growth_figures(points)


async def _session(run: Run) -> None:
    """The SDK's own session, in its own environment, on threads of the same sizes."""
    python = run.options.agents_python
    if python is None:
        run.sheet.notes.append(f"SQLiteSession is left out: name its Python by {_SESSION}.")
        return
    run.console.print("OpenAI Agents SDK: SQLiteSession …")
    effort, folder = run.effort, run.folder / "session"
    task = Task(run.plan.sizes, effort.rounds, effort.rows, run.options.seed)
    found = await asyncio.to_thread(measure_session, python, folder, task)
    run.sheet.versions["openai-agents"] = found["version"]
    table, figures = session_table(found, effort.rows)
    run.sheet.tables.append(table)
    run.sheet.figures += figures


async def _postgres(run: Run) -> None:
    programs = postgres.find_postgres()
    if programs is None:
        run.sheet.notes.append("PostgreSQL is left out: apt install postgresql")
        return
    from fairlead.conversations.postgres import PostgresThreadStore

    run.sheet.versions["PostgreSQL"] = postgres.version(programs)
    with postgres.postgres(programs, run.folder.parent, Cores.choose().server) as url:
        async with PostgresThreadStore(url) as store:
            built = await build(store, run.plan, run.console, "PostgreSQL: messages")
            await _big(run, store, built, "PostgreSQL", None)


_PARTS: dict[str, Callable[[Run], Coroutine[Any, Any, None]]] = {
    "sqlite": _sqlite,
    "durable": _durable,
    "interaction": _interaction,
    "growth": _growth,
    "session": _session,
    "postgres": _postgres,
}


if __name__ == "__main__":
    sys.exit(main())

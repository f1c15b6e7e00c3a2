"""Workspaces: `python -m benchmarks.workspace --quick`.

Repository maps of the interpreter's own library and of the packages that are installed here: cold,
unchanged, after an edit, after a change of branch, in a second clone; files from cache beside plain
reads; what five sub-agents cost; aider's map of the same tree in the same run, and whose maps show
the files that commits of a repository with history have changed. `docs/guides/benchmarks.md` says
what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from benchmarks.machine import BenchmarkError
from benchmarks.sheet import Sheet, Table, options_of, run
from benchmarks.workspace_agents import agents_table
from benchmarks.workspace_files import files_table
from benchmarks.workspace_maps import Measured, measure_maps
from benchmarks.workspace_quality import Answers, ask_ours, quality_table
from benchmarks.workspace_trees import (
    Question,
    checkout,
    edits,
    history,
    installed_packages,
    sources,
    standard_library,
)

TOKENS = 2_000
PARTS = ("maps", "files", "agents", "quality")
_AIDER = "FAIRLEAD_BENCH_AIDER"
_HEADS = ("what", "Fairlead, ms", "aider, ms", "aider ÷ Fairlead", "goal")


@dataclass(frozen=True)
class Effort:
    """How often things are measured."""

    rounds: int
    edits: int
    aider_rounds: int
    questions: int
    reads: int


FULL, QUICK = Effort(20, 5, 3, 60, 20_000), Effort(5, 2, 1, 10, 2_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workspace", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--history", type=Path, help="a git repository with commits to ask about")
    parser.add_argument(
        "--aider-python",
        default=os.environ.get(_AIDER),
        metavar="PATH",
        help=f"Python of the environment that has aider-chat (or {_AIDER})",
    )
    options = options_of(parser, arguments)
    options.only = [part for part in options.only.split(",") if part]
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    return run("workspace", options, _measure)


def _measure(options: argparse.Namespace, sheet: Sheet, console: Console) -> None:
    effort = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as name:
        folder = Path(name)
        if "maps" in options.only:
            _maps(options, effort, folder, sheet, console)
        if "files" in options.only:
            console.print("Files from cache …")
            sheet.tables.append(asyncio.run(files_table(folder, effort.reads)))
        if "agents" in options.only:
            console.print("Five sub-agents …")
            sheet.tables.append(_on_uvloop(agents_table(standard_library(folder / "agents"))))
        if "quality" in options.only:
            _quality(options, effort, folder, sheet, console)


def _on_uvloop(work: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _maps(
    options: argparse.Namespace, effort: Effort, folder: Path, sheet: Sheet, console: Console
) -> None:
    for title, make in (
        ("the standard library", standard_library),
        ("the installed packages", installed_packages),
    ):
        tree = make(folder)
        changes = edits(tree, effort.edits)
        files = sources(tree)
        console.print(f"Maps of {title}: {len(files):,} Python files …")
        measured = _on_uvloop(measure_maps(tree, TOKENS, effort.rounds, changes))
        aider: dict[str, Any] | None = None
        if title == "the standard library" and options.aider_python:
            console.print("The same by aider …")
            aider = ask_aider(options.aider_python, tree, files, effort.aider_rounds, changes, ())
            sheet.versions["aider"] = aider["version"]
        sheet.tables.append(_maps_table(title, len(files), measured, aider))
        sheet.figures.append({"kind": "maps", "tree": title, **measured.figures()})
    if not options.aider_python:
        sheet.notes.append(f"aider is left out: name its Python by {_AIDER}.")


def ask_aider(
    python: str,
    tree: Path,
    files: Sequence[str],
    rounds: int,
    changes: Sequence[tuple[Path, str]],
    questions: Sequence[Question],
) -> dict[str, Any]:
    """What aider measures of the same work, in its own environment; blocks."""
    task = {
        "root": str(tree),
        "tokens": TOKENS,
        "files": list(files),
        "rounds": rounds,
        "edits": [(str(path), text) for path, text in changes],
        "questions": [question.text for question in questions],
    }
    program = Path(__file__).with_name("workspace_aider.py")
    done = subprocess.run(
        [python, str(program)], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _maps_table(title: str, files: int, ours: Measured, aider: dict[str, Any] | None) -> Table:
    theirs = {}
    if aider is not None:
        theirs = {
            "cold": aider["cold"],
            "unchanged": statistics.median(aider["unchanged"]),
            "after one edit": statistics.median(aider["edited"]),
        }
    rows = []
    for what, seconds, goal in (
        ("cold", ours.cold, 5.0),
        ("unchanged", statistics.median(ours.unchanged), 100.0),
        ("after one edit", statistics.median(ours.edited), 30.0),
        ("another focus", statistics.median(ours.focused), None),
        ("50 files changed, new contents", ours.switched, None),
        ("50 files changed back", ours.switched_back, None),
        ("a second clone", ours.cloned, None),
    ):
        other = theirs.get(what)
        ratio = other / seconds if other else None
        cells = [what, f"{seconds * 1e3:,.1f}", f"{other * 1e3:,.0f}" if other else "–"]
        cells.append(f"{ratio:,.0f}" if ratio else "–")
        verdict = ""
        if ratio and goal:
            verdict = f"≥ {goal:,.0f} ×: {'met' if ratio >= goal else 'missed'}"
        rows.append([*cells, verdict])
    notes = [
        f"{files:,} Python files ({ours.files:,} files in all), {TOKENS:,} tokens; {ours.about}.",
        f"Files analysed: cold {ours.analysed[0]:,}, 50 files changed {ours.analysed[1]:,}, "
        f"changed back {ours.analysed[2]:,}, second clone {ours.analysed[3]:,}.",
    ]
    if aider is not None:
        notes.append(
            "aider's maps are asked for with refresh=always (with auto it answers the same "
            "question from a dictionary, however the files have changed); its tags come from its "
            "cache on disk but for the cold one. Loading its models is not counted, starting our "
            "workers is."
        )
    return Table(f"Repository map of {title}", _HEADS, rows, notes)


def _quality(
    options: argparse.Namespace, effort: Effort, folder: Path, sheet: Sheet, console: Console
) -> None:
    if options.history is None:
        sheet.notes.append("Recall is left out: name a repository with --history.")
        return
    repository = checkout(options.history, folder)
    questions = history(repository, effort.questions)
    console.print(f"Maps about {len(questions)} commits …")
    answers = {"Fairlead": _on_uvloop(ask_ours(repository, TOKENS, questions))}
    if options.aider_python:
        found = ask_aider(options.aider_python, repository, sources(repository), 0, (), questions)
        answers["aider"] = Answers([set(files) for files in found["answers"]], found["texts"])
    sheet.tables.append(quality_table(options.history.name, questions, answers))


if __name__ == "__main__":
    sys.exit(main())

"""Starts `conversations_session.py` in the SDK's own environment, and shows what it measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.conversations_beside import Figures, append_table
from benchmarks.conversations_writes import fresh_messages
from benchmarks.machine import BenchmarkError
from benchmarks.sheet import Table

_ITEMS = 5_000
"""Different messages; they come again and again."""


@dataclass(frozen=True)
class Task:
    """What is to be done: the same as with Fairlead's own store.

    Sizes of the threads, rounds of loading the longest, and callers with the messages they append.
    """

    sizes: Sequence[int]
    rounds: int
    rows: Mapping[int, int]
    seed: int


def measure_session(python: str, folder: Path, task: Task) -> dict[str, Any]:
    """Do the task with the interpreter `python`, with the database in `folder`; blocks."""
    folder.mkdir()
    items = [
        {"role": message.role, "content": json.loads(message.content)}
        for message in fresh_messages(_ITEMS, task.seed)
    ]
    place = folder / "items.json"
    place.write_text(json.dumps(items), encoding="utf-8")
    told = {
        "items": str(place),
        "folder": str(folder),
        "sizes": task.sizes,
        "rounds": task.rounds,
        "appends": task.rows,
    }
    program = Path(__file__).with_name("conversations_session.py")
    done = subprocess.run(
        [python, str(program)], input=json.dumps(told), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def session_table(found: Mapping[str, Any], callers: Iterable[int]) -> tuple[Table, Figures]:
    """Its appends as they are printed, its loads below."""
    ways = [(number, "SQLiteSession", found[f"append {number}"]) for number in callers]
    loads = ", ".join(
        f"{what}: p50 {found[what]['p50_ms']:.2f} ms, p99 {found[what]['p99_ms']:.2f} ms"
        for what in ("latest page", "whole")
    )
    notes = [
        f"Threads of the same sizes, {found['bytes'] / 1e6:,.0f} MB; no list, no search.",
        f"Load of a thread of 1,000 messages, {loads}.",
    ]
    table, figures = append_table("OpenAI Agents SDK: SQLiteSession", ways, notes)
    return table, [*figures, {"kind": "session", **found}]

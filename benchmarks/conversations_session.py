"""The OpenAI Agents SDK's `SQLiteSession` on the same work.

Run by the interpreter of an environment that has `openai-agents`; it imports nothing of this
repository. `python conversations_session.py` reads its task as JSON from standard input and prints
what it measured. The session keeps its own settings: WAL, and the driver's `synchronous=FULL`.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Do the task and print its figures."""
    task = json.load(sys.stdin)
    items = json.loads(Path(task["items"]).read_text(encoding="utf-8"))
    print(json.dumps(asyncio.run(_measure(task, items))))


async def _measure(task: dict[str, Any], items: list[dict[str, Any]]) -> dict[str, Any]:
    session = importlib.import_module("agents").SQLiteSession
    found: dict[str, Any] = {"version": importlib.metadata.version("openai-agents")}
    folder = Path(task["folder"])
    path = folder / "built.sqlite"
    long = await _build(session, path, task, items)
    found["bytes"] = _size(path)
    found["latest page"] = await _load(session, path, long * task["rounds"], 100)
    found["whole"] = await _load(session, path, long * task["rounds"], None)
    for callers, rows in task["appends"].items():
        found[f"append {callers}"] = await _append(session, path, items, int(callers), rows)
    return found


async def _build(
    session: Any, path: Path, task: dict[str, Any], items: list[dict[str, Any]]
) -> list[str]:
    """Sessions of the sizes that are asked for; the names of the longest."""
    chance = random.Random(1)
    names = [f"thread-{number}" for number in range(len(task["sizes"]))]
    for name, size in zip(names, task["sizes"], strict=True):
        opened = session(name, path)
        first = chance.randrange(len(items))
        await opened.add_items([items[(first + n) % len(items)] for n in range(size)])
        opened.close()
    longest = max(task["sizes"])
    return [name for name, size in zip(names, task["sizes"], strict=True) if size == longest]


async def _load(session: Any, path: Path, names: list[str], limit: int | None) -> dict[str, float]:
    times = []
    for name in names:
        opened = session(name, path)
        began = time.perf_counter()
        await opened.get_items(limit)
        times.append((time.perf_counter() - began) * 1e3)
        opened.close()
    return _percentiles(times)


async def _append(
    session: Any, path: Path, items: list[dict[str, Any]], callers: int, rows: int
) -> dict[str, float]:
    """One item a call, from so many callers at once, each with a session of its own."""
    waits: list[float] = []
    calls = iter([items[number % len(items)] for number in range(rows)])
    sessions = [session(f"caller-{callers}-{number}", path) for number in range(callers)]

    async def one(opened: Any) -> None:
        for item in calls:
            asked = time.perf_counter()
            await opened.add_items([item])
            waits.append((time.perf_counter() - asked) * 1e3)

    began = time.perf_counter()
    await asyncio.gather(*map(one, sessions))
    seconds = time.perf_counter() - began
    for opened in sessions:
        opened.close()
    return {"rows_per_second": rows / seconds} | _percentiles(waits)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50_ms": statistics.median(times),
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }


if __name__ == "__main__":
    main()

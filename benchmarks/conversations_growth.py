"""What sessions take on the disk whose every request repeats the whole conversation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from benchmarks.conversations_data import START, BenchStore, Texts, new_message, viewer_of, written
from benchmarks.sheet import Table
from fairlead.conversations.records import NewMessage, Record, Turn
from fairlead.core.ids import uuid7

_COMMIT = 50
_SYSTEM_SENTENCES = 200
_HEADS = (
    "turns",
    "messages sent",
    "sent, MB",
    "new in them, MB",
    "log, MB",
    "file, MB",
    "file ÷ new",
)


@dataclass(frozen=True)
class Point:
    """How things stand after some turns of every session. Bytes are of contents as JSON."""

    turns: int
    sent_messages: int
    sent: int
    new: int
    log: int
    """What the events take as they are encoded."""
    file: int
    """What the database takes with projections, indexes and its write-ahead log."""
    seconds: float

    def at(self, path: Path) -> Point:
        """The same with the size that the file has now."""
        return replace(self, file=file_size(path))


class Session:
    """One run of an assistant: each turn sends everything so far and adds an answer."""

    def __init__(self, number: int, system: NewMessage) -> None:
        self.number = number
        self.sent = self.sent_messages = 0
        self._system = msgspec.structs.replace(system, id=str(uuid7()))
        self._thread = str(uuid7())
        self._prompt: list[NewMessage] = []
        self._size = len(system.content)
        self.new = self._size

    def turn(self, texts: Texts, now: int) -> Record:
        """The next exchange: what a tool or the user says, and an answer."""
        asked, answer = texts.message("user", now), texts.message("assistant", now)
        self._prompt.append(asked)
        self._size += len(asked.content)
        self.sent += self._size + len(answer.content)
        self.sent_messages += len(self._prompt) + 2
        self.new += len(asked.content) + len(answer.content)
        turn = Turn(
            session=f"session-{self.number}",
            team="team-1",
            title="a growing session",
            system=(self._system,),
            prompt=tuple(self._prompt),
            answer=(answer,),
        )
        self._prompt.append(answer)
        self._size += len(answer.content)
        viewer = viewer_of(self.number)
        return Record(id=str(uuid7(now)), thread=self._thread, viewer=viewer, time=now, turn=turn)


async def grow(
    store: BenchStore, path: Path, sessions: int, turns: int, seed: int, console: Console
) -> list[Point]:
    """Let all sessions take their turns; a point after each quarter of them."""
    texts = Texts(seed)
    system = new_message("system", f"{'obey the rules of this house. ' * _SYSTEM_SENTENCES}", START)
    running = [Session(number, system) for number in range(sessions)]
    points: list[Point] = []
    logged: dict[str, int] = {}
    began = time.monotonic()
    with Progress(console=console) as bar:
        task = bar.add_task("growing prompts", total=sessions * turns)
        for number in range(1, turns + 1):
            for first in range(0, sessions, _COMMIT):
                batch = [
                    session.turn(texts, START + number * 1_000)
                    for session in running[first : first + _COMMIT]
                ]
                heads = [written(outcome).head for outcome in await store.apply(batch)]
                logged |= {head.id: head.bytes for head in heads}
                bar.advance(task, len(batch))
            if number * 4 % turns < 4 or number == turns:
                points.append(_point(running, number, sum(logged.values()), path, began))
    return points


def _point(running: Sequence[Session], turns: int, log: int, path: Path, began: float) -> Point:
    return Point(
        turns=turns * len(running),
        sent_messages=sum(session.sent_messages for session in running),
        sent=sum(session.sent for session in running),
        new=sum(session.new for session in running),
        log=log,
        file=file_size(path),
        seconds=time.monotonic() - began,
    )


def file_size(path: Path) -> int:
    """Bytes of a database with its write-ahead log."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def growth_table(points: Sequence[Point], sessions: int, turns: int) -> Table:
    """The points as they are printed."""
    rows = [
        [
            f"{point.turns:,}",
            f"{point.sent_messages:,}",
            *(f"{size / 1e6:,.1f}" for size in (point.sent, point.new, point.log, point.file)),
            f"{point.file / point.new:.2f}",
        ]
        for point in points
    ]
    last = points[-1]
    return Table(
        f"Growing prompts: {sessions:,} sessions × {turns:,} turns",
        _HEADS,
        rows,
        [
            "Every turn sends the whole conversation again and is stored as a captured turn; the "
            "same instructions begin every session, and are kept once in each thread.",
            f"{last.sent / last.new:,.0f} times as much was sent as was new; "
            f"{last.turns / last.seconds:,.0f} turns/s on one caller, {_COMMIT} a commit.",
        ],
    )


def growth_figures(points: Sequence[Point]) -> list[Mapping[str, Any]]:
    """Every figure of every point."""
    names = ("turns", "sent_messages", "sent", "new", "log", "file", "seconds")
    return [{"kind": "growth"} | {name: getattr(point, name) for name in names} for point in points]

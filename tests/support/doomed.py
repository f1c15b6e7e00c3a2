"""Processes that write conversations until they are killed: `python -m support.doomed FILE SEED`.

The program itself only forks, so that a new victim costs no start of an interpreter: for each line
on its input a child opens the database, says its process id, and writes as fast as it can, telling
the id of each message once it is acknowledged. `Doomed` starts and kills them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fairlead.conversations.records import Append, Create
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.errors import RequestError
from support.threadwork import START, VIEWER, new_id, said

THREADS = [str(uuid.UUID(int=0x7000_8000_0000_0000_0000 + number)) for number in range(4)]
WRITERS = 8


class Doomed:
    """The forking program, as the test sees it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def round(self, acknowledged: int) -> list[str]:
        """Start a victim and kill it after that many acknowledgments; all ids that it told."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        victim = int(self._line())
        told = [self._line() for _ in range(acknowledged)]
        assert "ended" not in told, "the victim has died of itself"
        os.kill(victim, signal.SIGKILL)
        told += iter(self._line, "ended")
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        assert line.endswith("\n"), "the program has ended"
        return line.strip()


@contextmanager
def doomed(path: Path, seed: int) -> Iterator[Doomed]:
    """The program for the database at `path`."""
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "support.doomed", str(path), str(seed)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Doomed(process)
        finally:
            process.kill()


def _main(path: Path, seed: int) -> None:
    for number, _ in enumerate(sys.stdin.buffer):
        child = os.fork()
        if child == 0:
            asyncio.run(_write(path, seed + number))
            return
        os.waitpid(child, 0)
        _tell("ended")


async def _write(path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - made-up load guards nothing
    _tell(str(os.getpid()))
    async with (
        SqliteThreadStore(path) as store,
        BatchedThreadWriter(store) as writer,
        asyncio.TaskGroup() as tasks,
    ):
        for thread in THREADS:
            with suppress(RequestError):  # an earlier victim has begun it
                await writer.write(Create(id=new_id(), thread=thread, viewer=VIEWER, time=START))
        for _ in range(WRITERS):
            tasks.create_task(_append(writer, chance))


async def _append(writer: BatchedThreadWriter, chance: random.Random) -> None:
    for number in itertools.count():
        messages = tuple(said("word " * chance.randint(1, 500)) for _ in range(1 + number % 3))
        await writer.write(
            Append(
                id=messages[0].id,
                thread=chance.choice(THREADS),
                viewer=VIEWER,
                time=START + number,
                messages=messages,
            )
        )
        for message in messages:
            _tell(message.id)


def _tell(line: str) -> None:
    # One system call a line: it is told whole or not at all.
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))

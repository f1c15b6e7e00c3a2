"""The five-step interaction as writes: what a node stores while one developer's request is done.

"Move this authentication code to OAuth": a coordinator reads files, calls the model, starts
sub-agents that do the same, tools change files and run the tests, the thread is named and shared.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.conversations_data import START, Texts, viewer_of
from fairlead.conversations.records import NewMessage, Operation, Record, Turn, Update
from fairlead.core.ids import uuid7

_COORDINATOR_TURNS, _AGENTS, _AGENT_TURNS = 6, 3, 4
_FILES_READ, _TOOLS_A_TURN = 24, 3
_TURN_SECONDS = (0.5, 2.0)

DESCRIPTION = (
    f"An interaction: a coordinator with {_COORDINATOR_TURNS} model calls, {_FILES_READ} files "
    f"read, {_AGENTS} sub-agents with {_AGENT_TURNS} calls each, {_TOOLS_A_TURN} results of tools "
    "a call, a title and a share; in virtual time, a call every "
    f"{_TURN_SECONDS[0]:g} to {_TURN_SECONDS[1]:g} s."
)


@dataclass(frozen=True)
class Step:
    """A write of an interaction at its time, in seconds from the start, and what is new in it."""

    time: float
    operation: Operation
    fresh: Sequence[NewMessage] = ()


class _Session:
    """A coordinator's or a sub-agent's captured turns."""

    def __init__(self, name: str, developer: int, texts: Texts) -> None:
        self.name, self.thread = name, str(uuid7())
        self.viewer = viewer_of(developer)
        self._texts = texts
        self._prompt: list[NewMessage] = []

    def turn(self, time: float, results: int) -> Step:
        """A model call: the results of tools that came since, and the answer."""
        now, sent = _now(time), len(self._prompt)
        role = "tool" if sent else "user"
        self._prompt += [self._texts.message(role, now) for _ in range(results)]
        answer = self._texts.message("assistant", now)
        turn = Turn(self.name, "team-1", "move to OAuth", (), tuple(self._prompt), (answer,))
        self._prompt.append(answer)
        operation = Record(
            id=str(uuid7(now)), thread=self.thread, viewer=self.viewer, time=now, turn=turn
        )
        return Step(time, operation, tuple(self._prompt[sent:]))

    def update(self, time: float, title: str | None, is_shared: bool | None) -> Step:
        """A change of the thread itself."""
        operation = Update(
            id=str(uuid7(_now(time))),
            thread=self.thread,
            viewer=self.viewer,
            time=_now(time),
            title=title,
            is_shared=is_shared,
        )
        return Step(time, operation)


def _now(time: float) -> int:
    return START + int(time * 1000)


def _interaction(developer: int, chance: random.Random, texts: Texts) -> Iterator[Step]:
    """One developer's writes."""
    time = chance.uniform(0, 5)
    coordinator = _Session(f"coordinator-{developer}", developer, texts)
    yield coordinator.turn(time, 1)
    time += chance.uniform(*_TURN_SECONDS)
    yield coordinator.turn(time, _FILES_READ)
    ends = []
    for agent in range(_AGENTS):
        session, at = _Session(f"agent-{developer}-{agent}", developer, texts), time
        for number in range(_AGENT_TURNS):
            at += chance.uniform(*_TURN_SECONDS)
            yield session.turn(at, _TOOLS_A_TURN if number else 1)
        ends.append(at)
    time = max(ends)
    for _ in range(_COORDINATOR_TURNS - 2):
        time += chance.uniform(*_TURN_SECONDS)
        yield coordinator.turn(time, _TOOLS_A_TURN)
    yield coordinator.update(time, "Move authentication to OAuth", None)
    yield coordinator.update(time + 2, None, True)


def interactions(developers: int, seed: int) -> list[Step]:
    """All developers' writes in the order of their times."""
    chance, texts = random.Random(seed), Texts(seed)
    found = [step for one in range(developers) for step in _interaction(one, chance, texts)]
    return sorted(found, key=lambda step: step.time)

"""Threads and messages made up for the benchmark of conversations, and how they are stored.

Texts are sentences of a vocabulary whose words are as unequally common as those of a language
(Zipf); every message has a word of its own besides, as code has names. Contents are what an
assistant sends: strings for users, blocks for answers.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.machine import BenchmarkError
from fairlead.conversations.base import ThreadLog
from fairlead.conversations.database import ConversationStore
from fairlead.conversations.digests import digest_of
from fairlead.conversations.records import (
    Append,
    Create,
    NewMessage,
    Operation,
    Update,
    Viewer,
    Written,
)
from fairlead.conversations.texts import text_of
from fairlead.core.ids import uuid7

TENANT = "platform"
USERS = 100
LONG_THREADS, LONG = 100, 1_000
"""How many threads of a thousand messages there are, at most a tenth of all messages."""
SHARED_EVERY = 10
START = 1_750_000_000_000
RARE_WORD, COMMON_WORD, OTHER_COMMON_WORD = "quokka", "w0007", "w0011"
"""Searched for: the rare one is in every 10,000th message, the others in most."""
RARE_EVERY = 10_000
_VOCABULARY, _SENTENCES, _WORDS = 20_000, 20_000, 11
_CHUNK = 10
"""Messages that are appended to one thread at once while the database is built."""
_ACTIVE = 200
"""Threads that grow side by side."""
_OPERATIONS = 50
"""A commit while the database is built."""


class BenchStore(ConversationStore, ThreadLog, Protocol):
    """A store with its statistics, to be used in an `async with`."""

    async def __aenter__(self) -> Self:
        """Open."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        ...


class Texts:
    """Messages, the same ones for the same seed but for their ids."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        words = [f"w{number:04d}" for number in range(_VOCABULARY)]
        weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(_VOCABULARY)))
        self._sentences = [
            " ".join(self._chance.choices(words, cum_weights=weights, k=_WORDS)) + "."
            for _ in range(_SENTENCES)
        ]
        self._number = 0

    def message(self, role: str, now: int) -> NewMessage:
        """The next message: about 500 characters for a user's, about 1,000 for an answer."""
        self._number += 1
        count = 1 + int(self._chance.expovariate(1 / (6 if role == "user" else 12)))
        sentences = self._chance.choices(self._sentences, k=min(count, 60))
        rare = f" {RARE_WORD}" if self._number % RARE_EVERY == 1 else ""
        text = f"{' '.join(sentences)} name_{self._number}{rare}"
        metadata: dict[str, object] = {
            "model": "simulated",
            "usage": {"output_tokens": count * _WORDS},
        }
        content = text if role == "user" else [{"type": "text", "text": text}]
        return new_message(role, content, now, metadata if role == "assistant" else {})


def new_message(
    role: str, content: object, now: int, metadata: dict[str, object] | None = None
) -> NewMessage:
    """A message as the node would make it of this content."""
    encoded = msgspec.json.encode(content)
    return NewMessage(
        id=str(uuid7(now)),
        role=role,
        timestamp=now,
        content=encoded,
        metadata=metadata or {},
        digest=digest_of(role, encoded, metadata or {}),
        text=text_of(encoded),
    )


@dataclass
class Plan:
    """What the database is made of."""

    threads: int
    messages: int
    seed: int
    sizes: list[int] = field(default_factory=list)
    """Messages of each thread; the long ones are the first."""

    def __post_init__(self) -> None:
        long = min(LONG_THREADS, self.messages // 10 // LONG)
        if not long or self.threads <= long or self.messages - long * LONG < self.threads:
            raise BenchmarkError(
                f"{self.messages} messages in {self.threads} threads: at least {10 * LONG} "
                f"messages are needed, more threads than {long}, and messages for each thread"
            )
        rest, left = self.threads - long, self.messages - long * LONG
        self.sizes = [LONG] * long
        self.sizes += [left // rest + (number < left % rest) for number in range(rest)]


@dataclass
class Built:
    """What was built: ids of threads by length, and how long it took."""

    long: list[str]
    others: list[str]
    seconds: float
    bytes: int = 0


def viewer_of(number: int) -> Viewer:
    """The user whose thread of this number it is."""
    return Viewer(TENANT, f"user-{number % USERS}", "team-1")


async def build(store: BenchStore, plan: Plan, console: Console, title: str) -> Built:
    """Fill an empty store, in commits of some hundred messages."""
    threads = [str(uuid7(START + number)) for number in range(plan.threads)]
    began = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task(title, total=plan.messages)
        for batch in _batches(_operations(threads, plan)):
            outcomes = await store.apply(batch)
            added = sum(len(written(outcome).messages) for outcome in outcomes)
            bar.advance(task, added)
    long = plan.sizes.count(LONG)
    seconds = time.monotonic() - began
    return Built(threads[:long], threads[long:], seconds, store.statistics().bytes)


def written(outcome: object) -> Written:
    """The outcome of an operation that cannot be refused."""
    assert isinstance(outcome, Written), outcome
    return outcome


def _batches(operations: Iterator[Operation]) -> Iterator[list[Operation]]:
    while batch := list(itertools.islice(operations, _OPERATIONS)):
        yield batch


def _operations(threads: list[str], plan: Plan) -> Iterator[Operation]:
    texts, now = Texts(plan.seed), itertools.count(START, 97)
    order = list(range(len(threads)))
    random.Random(plan.seed).shuffle(order)
    waiting = iter(order)
    active = [_growth(threads, number, plan, texts, now) for number in _next(waiting, _ACTIVE)]
    while active:
        for place, growing in enumerate(active):
            operation = next(growing, None)
            if operation is not None:
                yield operation
            elif fresh := _next(waiting, 1):
                active[place] = _growth(threads, fresh[0], plan, texts, now)
            else:
                active = [one for one in active if one is not growing]
                break


def _next(numbers: Iterator[int], count: int) -> list[int]:
    return list(itertools.islice(numbers, count))


def _growth(
    threads: list[str], number: int, plan: Plan, texts: Texts, now: Iterator[int]
) -> Iterator[Operation]:
    """One thread's operations: begun, appended to, and now and then shared."""
    thread, viewer, size = threads[number], viewer_of(number), plan.sizes[number]
    first = texts.message("user", time := next(now))
    title = first.text[:60]
    yield Create(
        id=str(uuid7(time)),
        thread=thread,
        viewer=viewer,
        time=time,
        title=title,
        messages=(first,),
    )
    done = 1
    while done < size:
        time, count = next(now), min(_CHUNK, size - done)
        messages = tuple(
            texts.message("assistant" if place % 2 else "user", time)
            for place in range(done, done + count)
        )
        yield Append(id=messages[0].id, thread=thread, viewer=viewer, time=time, messages=messages)
        done += count
    if number % SHARED_EVERY == 0:
        time = next(now)
        yield Update(id=str(uuid7(time)), thread=thread, viewer=viewer, time=time, is_shared=True)

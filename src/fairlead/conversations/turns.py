"""Which messages of a captured turn are new, and where they belong (pure).

An assistant sends its whole conversation with each request. What repeats the thread is recognised
by digests: a prompt that goes on from the end of a branch adds to that branch; any other begins a
new branch, whose basis names in the prompt's order the messages that are there already, wherever
they stand in the thread. So an answer that was asked for again, a sub-agent in the same session, an
assistant that changes a message near the beginning (the files it has open), and one that drops its
oldest messages or puts a summary in their place all add what is new; by sequence, each message is
read once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, zip_longest

import msgspec

from fairlead.conversations.records import (
    MAIN_BRANCH,
    SYSTEM_BRANCH,
    BranchRow,
    NewMessage,
    PageQuery,
    Range,
    Transcript,
    Turn,
)

MAX_COMPARED = 32
"""Branches that a prompt is compared with: the main one and the latest."""
MIN_SHARED = 256
"""Bytes of content from which a message is taken for a repetition of another wherever it stands.

A shorter one ("continue") may well have been said again, and takes no more room than a reference.
"""

NO_TRANSCRIPT = Transcript((), ())


class Placed(msgspec.Struct, frozen=True):
    """A message to add, and where."""

    message: NewMessage
    branch: int
    same_as: str | None = None
    """The event that holds its content already."""


class Planned(msgspec.Struct, frozen=True):
    """What a turn adds to its thread."""

    messages: tuple[Placed, ...]
    branch: BranchRow | None = None
    """The branch that begins, where one does."""


class _Path(msgspec.Struct, frozen=True):
    """A branch from its first message to its last: sequences and digests."""

    branch: int
    sequences: list[int]
    digests: list[str]


def plan(turn: Turn, transcript: Transcript, last_sequence: int) -> Planned:
    """What `turn` adds to the thread that `transcript` describes; perhaps nothing.

    `last_sequence` is the thread's latest; what is added gets those that follow, in order.
    """
    known = _Known(transcript)
    system = {message.digest: message for message in turn.system if message.digest not in known}
    placed = tuple(Placed(message, SYSTEM_BRANCH) for message in system.values())
    said = [*turn.prompt, *turn.answer]
    path, agreed = _closest(transcript, [message.digest for message in said])
    if agreed == len(said):
        return Planned(placed)
    if agreed == len(path.sequences):
        rest = [known.place(message, path.branch) for message in said[agreed:]]
        return Planned((*placed, *rest))
    shared = path.sequences[:agreed]
    places = [*shared, *known.find(turn.prompt[agreed:], shared)]
    number = max((row.branch for row in transcript.branches), default=MAIN_BRANCH) + 1
    rest = [
        known.place(message, number)
        for message, place in zip_longest(said, places)
        if place is None
    ]
    basis = _basis(places, last_sequence + len(placed))
    return Planned((*placed, *rest), BranchRow(number, basis))


def _basis(places: Sequence[int | None], last_sequence: int) -> tuple[Range, ...]:
    """The places up to the last that is known; those that are None come to be after the latest."""
    coming = count(last_sequence + 1)
    order = [next(coming) if place is None else place for place in places]
    end = max((index for index, place in enumerate(places, 1) if place is not None), default=0)
    return tuple(_ranges(order[:end]))


class _Known:
    """The messages of a thread by their digests."""

    def __init__(self, transcript: Transcript) -> None:
        self._places: dict[str, list[int]] = {}
        self._contents: dict[str, str] = {}
        for sequence, _, digest, content in transcript.rows:
            self._places.setdefault(digest, []).append(sequence)
            self._contents.setdefault(digest, content)

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def place(self, message: NewMessage, branch: int) -> Placed:
        """The message as a new one; the content of a long one is not kept again."""
        is_long = len(message.content) >= MIN_SHARED
        return Placed(message, branch, self._contents.get(message.digest) if is_long else None)

    def find(self, messages: Iterable[NewMessage], before: Sequence[int]) -> list[int | None]:
        """Where each of `messages`, which come after `before`, is already; None: nowhere.

        A short one has to stand after those before it, or it was said once more.
        """
        found: list[int | None] = []
        used: set[int | None] = {*before}
        last = before[-1] if before else 0
        for message in messages:
            places = [at for at in self._places.get(message.digest, ()) if at not in used]
            later = places[bisect_right(places, last) :]
            if later:
                last = later[0]
                found.append(last)
            elif places and len(message.content) >= MIN_SHARED:
                found.append(places[0])
            else:
                found.append(None)
            used.add(found[-1])
        return found


def _closest(transcript: Transcript, digests: Sequence[str]) -> tuple[_Path, int]:
    """The branch that agrees with `digests` the longest, and how long; the later of equal ones."""
    best, longest = _Path(MAIN_BRANCH, [], []), -1
    for path in paths(transcript):
        agreed = _agreement(path.digests, digests)
        if agreed >= longest:
            best, longest = path, agreed
    return best, longest


def _latest(branches: Sequence[BranchRow], own: Mapping[int, Sequence[int]]) -> list[BranchRow]:
    """Those that were said something in last, in their order."""
    if len(branches) <= MAX_COMPARED:
        return list(branches)
    latest = sorted(branches, key=lambda row: own[row.branch][-1] if row.branch in own else 0)
    return sorted(latest[-MAX_COMPARED:], key=lambda row: row.branch)


def _agreement(first: Sequence[str], second: Sequence[str]) -> int:
    number = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        number += 1
    return number


def paths(transcript: Transcript) -> list[_Path]:
    """The main branch and the latest others."""
    by_sequence = {sequence: digest for sequence, _, digest, _ in transcript.rows}
    own = _own(transcript)
    rows = [BranchRow(MAIN_BRANCH, ()), *_latest(transcript.branches, own)]
    found = []
    for row in rows:
        # A message that was removed since is missing from the path of every branch.
        order = _order(expand(row.basis), own.get(row.branch, []))
        sequences = [sequence for sequence in order if sequence in by_sequence]
        digests = [by_sequence[sequence] for sequence in sequences]
        found.append(_Path(row.branch, sequences, digests))
    return found


def branch_page(
    basis: Iterable[Range], places: Iterable[tuple[int, int]], query: PageQuery
) -> list[int]:
    """The sequences on a page of the branch `query.branch`, in the branch's own order.

    `places` are sequence and branch of every message of the thread, in the order of sequences.
    """
    shared = expand(basis)
    present, own = set(), []
    for sequence, branch in places:
        present.add(sequence)
        if branch == query.branch:
            own.append(sequence)
    order = _order(shared, own)
    start, end = 0, len(order)
    if query.after is not None:
        start = _position(order, len(shared), query.after, 1)
    elif query.before is not None:
        end = _position(order, len(shared), query.before, 0)
    found = [sequence for sequence in order[start:end] if sequence in present]
    return found[: query.limit] if query.after is not None else found[-query.limit :]


def _position(order: Sequence[int], fixed: int, sequence: int, past: int) -> int:
    """Where `sequence` stands, or would stand had it not been removed; `past` 1: behind it."""
    if sequence < 1:
        return 0
    if sequence in order:
        return order.index(sequence) + past
    # Only from behind the basis can one be missing; there they are in ascending order.
    return bisect_left(order, sequence, lo=fixed)


def _order(shared: Sequence[int], own: Iterable[int]) -> list[int]:
    """A branch from its first message to its last, removed ones of its basis counted."""
    # A basis may name messages that came with the branch, between older ones.
    named = frozenset(shared)
    return [*shared, *(sequence for sequence in own if sequence not in named)]


def _own(transcript: Transcript) -> dict[int, list[int]]:
    own: dict[int, list[int]] = {}
    for sequence, branch, *_ in transcript.rows:
        own.setdefault(branch, []).append(sequence)
    return own


def expand(basis: Iterable[Range]) -> list[int]:
    """The sequences that ranges stand for, in order."""
    return [sequence for first, last in basis for sequence in range(first, last + 1)]


def _ranges(sequences: Iterable[int]) -> list[Range]:
    """Runs of consecutive numbers."""
    found: list[Range] = []
    for sequence in sequences:
        if found and found[-1][1] + 1 == sequence:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found

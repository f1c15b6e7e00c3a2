"""A ranking as text within a budget of tokens: signatures under the names of their files (pure).

What a reader needs first is where to look, so breadth comes before depth: the second definition of
a file comes where its rank is four times that of a file of which only the first would be shown. A
line is a signature, indented by one space for each definition that it stands in, and nothing marks
what lies between: bars and dots cost a token a line and tell nobody where to look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

import msgspec

from fairlead.errors import RequestError
from fairlead.workspace.base import Definition, MapFile
from fairlead.workspace.graph import ReferenceGraph
from fairlead.workspace.rank import Ranking, definition_scores
from fairlead.workspace.tokens import TokenCounter

MIN_TOKENS, MAX_TOKENS = 64, 100_000
MAX_FROM_FILE = 30
"""Definitions of one file that are shown at most, besides those around them."""
MAX_SIGNATURE = 100
"""Characters of a line: what comes after them is mostly the rest of the parameters."""

_MAX_MISSES = 10
"""Items that do not fit before it ends: a shorter one may still find room."""


class Rendered(msgspec.Struct, frozen=True):
    """A map's text, and what is in it."""

    text: str
    tokens: int
    files: Sequence[MapFile]
    """In the order of the text: the most important first."""


class _Block:
    """What is shown of one file."""

    def __init__(self, path: str, rank: float, definitions: Sequence[Definition]) -> None:
        self.path = path
        self.rank = rank
        self.definitions = definitions
        self.lines: dict[int, str] = {}
        """Signatures by the places of their definitions."""

    @property
    def title(self) -> str:
        # A name may hold line ends, or bytes that are no text.
        name = "".join(char if char.isprintable() else "\ufffd" for char in self.path)
        return f"{name}:\n" if self.definitions else f"{name}\n"

    def missing(self, place: int) -> dict[int, str]:
        """The lines that it takes to show a definition: its own, and those it stands in."""
        places = (place, *_around(self.definitions, place))
        return {one: _line(self.definitions[one]) for one in places if one not in self.lines}

    def text(self) -> str:
        return self.title + "".join(self.lines[place] for place in sorted(self.lines))


def check_tokens(tokens: int) -> int:
    """`tokens`; raises `RequestError` 422 outside of the bounds."""
    if not MIN_TOKENS <= tokens <= MAX_TOKENS:
        message = f"tokens must be between {MIN_TOKENS} and {MAX_TOKENS:,}"
        raise RequestError(422, message, param="tokens", code="tokens")
    return tokens


def render(ranking: Ranking, graph: ReferenceGraph, tokens: int, counter: TokenCounter) -> Rendered:
    """As much of the ranking as `tokens` allow, never more.

    What each item adds is counted by itself. That hardly differs from the text's own count, since
    tokens end with lines, and the text's own count decides.
    """
    room = tokens
    while True:
        blocks = _chosen(ranking, graph, room, counter)
        text = "".join(block.text() for block in blocks)
        size = counter.count(text)
        if size <= tokens:
            files = [MapFile(block.path, block.rank, len(block.lines)) for block in blocks]
            return Rendered(text, size, files)
        room -= size - tokens


def _chosen(
    ranking: Ranking, graph: ReferenceGraph, room: int, counter: TokenCounter
) -> Sequence[_Block]:
    """The files and definitions that come first and fit."""
    shown: dict[str, _Block] = {}
    misses = 0
    for block, place in _items(ranking, graph):
        lines = {} if place is None else block.missing(place)
        title = "" if block.path in shown else block.title
        cost = counter.count("".join((title, *lines.values())))
        if cost > room:
            misses += 1
            if misses == _MAX_MISSES:
                break
            continue
        room -= cost
        shown[block.path] = block
        block.lines.update(lines)
    return list(shown.values())


def _items(ranking: Ranking, graph: ReferenceGraph) -> Iterator[tuple[_Block, int | None]]:
    """Files and definitions to show, what matters most first; None: the file's name alone.

    Only files whose turn has come are looked into.
    """
    # As the files are sorted, this is a heap already.
    heap = [(-math.sqrt(rank), 1, path, rank) for path, rank in ranking.files]
    opened: dict[str, tuple[_Block, list[int]]] = {}
    while heap:
        value, number, path, rank = heappop(heap)
        if path not in opened:
            block = _Block(path, rank, graph.files[path].definitions)
            opened[path] = block, _best(block.definitions, graph, ranking)
        block, best = opened[path]
        yield block, best[number - 1] if best else None
        if number < len(best):
            heappush(heap, (value * number / (number + 1), number + 1, path, rank))


def _best(definitions: Sequence[Definition], graph: ReferenceGraph, ranking: Ranking) -> list[int]:
    """The places of a file's definitions that may be shown, those that matter most first."""
    scores = definition_scores(definitions, graph.popularity, ranking.focus)
    return sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:MAX_FROM_FILE]


def _line(definition: Definition) -> str:
    text = " ".join(definition.signature.split())
    if len(text) > MAX_SIGNATURE:
        text = f"{text[:MAX_SIGNATURE].rstrip()}…"
    return f"{' ' * (definition.depth + 1)}{text}\n"


def _around(definitions: Sequence[Definition], place: int) -> Iterator[int]:
    """The definitions that one stands in."""
    depth = definitions[place].depth
    for before in range(place - 1, -1, -1):
        if not depth:
            return
        if definitions[before].depth < depth:
            depth = definitions[before].depth
            yield before

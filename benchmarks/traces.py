"""A recorded trace of model requests: when they came, which prompt blocks they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from benchmarks.blocks import BlockCache
from benchmarks.machine import BenchmarkError

BLOCK_TOKENS = 512
DEFAULT_TRACE = (
    Path(__file__).resolve().parents[2] / "shared" / "traces" / "mooncake_conversation.jsonl"
)


class _Line(msgspec.Struct):
    timestamp: int
    output_length: int
    hash_ids: list[int]


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request: seconds after the trace's begin, ids of its prompt's blocks, answer's tokens.

    Equal ids stand for equal blocks behind equal beginnings.
    """

    at: float
    blocks: tuple[int, ...]
    output_tokens: int

    @property
    def session(self) -> str:
        """The conversation: its second block's id, since all conversations share the first."""
        return str(self.blocks[min(1, len(self.blocks) - 1)])


def load_trace(path: Path, limit: int | None = None) -> list[TraceRequest]:
    """The first `limit` requests of a trace in Mooncake's format, in order of time.

    Raises `BenchmarkError` where the file is missing or is no such trace.
    """
    if not path.is_file():
        raise BenchmarkError(
            f"there is no trace at {path}: give --trace FILE, a trace in the format of Mooncake's "
            "conversation_trace.jsonl (kvcache-ai/Mooncake, FAST'25 release)"
        )
    try:
        with path.open("rb") as file:
            lines = [msgspec.json.decode(line, type=_Line) for line in islice(file, limit)]
    except msgspec.MsgspecError as error:
        raise BenchmarkError(f"{path} is no trace in Mooncake's format: {error}") from error
    if not lines or not all(line.hash_ids for line in lines):
        raise BenchmarkError(f"{path} holds no requests, or one without blocks")
    return [
        TraceRequest(line.timestamp / 1e3, tuple(line.hash_ids), line.output_length)
        for line in sorted(lines, key=lambda line: line.timestamp)
    ]


def ceiling(trace: Sequence[TraceRequest]) -> float:
    """The share of prompt blocks that one cache of unlimited size would find, 0 to 1."""
    cache = BlockCache()
    found = sum(cache.look_up(request.blocks) for request in trace)
    return found / sum(len(request.blocks) for request in trace)

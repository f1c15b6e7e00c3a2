"""How long maps take, in each state that a tree may be in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workspace_trees import branch, clone
from fairlead import RepositoryAnalysisCache, SqliteAnalysisStore

_CHANGED = 50
_WORDS = (("parser", "errors"), ("socket",), ("cache", "expire"), ("time zone",), ("thread pool",))


@dataclass(frozen=True)
class Measured:
    """Seconds, and files that were analysed."""

    cold: float
    unchanged: Sequence[float]
    focused: Sequence[float]
    edited: Sequence[float]
    switched: float
    switched_back: float
    cloned: float
    files: int
    analysed: tuple[int, int, int, int]
    """Cold, with 50 other contents, back again, in a second clone."""
    about: str

    def figures(self) -> Mapping[str, object]:
        """As they are reported."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


async def measure_maps(
    tree: Path, tokens: int, rounds: int, changes: Sequence[tuple[Path, str]]
) -> Measured:
    """Make maps of a tree that is changed meanwhile; it is as before in the end."""
    async with AsyncExitStack() as stack:
        file = tree.with_name(f"{tree.name}.sqlite")
        store = await stack.enter_async_context(SqliteAnalysisStore(file))
        began = time.perf_counter()
        cache = await stack.enter_async_context(RepositoryAnalysisCache(tree, store=store))
        first = await cache.map(tokens)
        cold = time.perf_counter() - began
        counts = [cache.statistics().analysed]
        # Until the files are old enough to be believed, each look reads them again.
        time.sleep(2.5)  # noqa: ASYNC251 - nothing else runs
        await cache.map(tokens)
        unchanged = [await _timed(cache, tokens) for _ in range(rounds)]
        focused = [await _timed(cache, tokens, words) for words in _WORDS]
        before = [path.read_text(encoding="utf-8", errors="replace") for path, _ in changes]
        edited = []
        for path, text in changes:
            path.write_text(text, encoding="utf-8")
            edited.append(await _timed(cache, tokens))
        for (path, _), text in zip(changes, before, strict=True):
            path.write_text(text, encoding="utf-8")
        await cache.map(tokens)
        times = []
        for contents in branch(tree, _CHANGED):
            counts.append(cache.statistics().analysed)
            for path, data in contents.items():
                path.write_bytes(data)
            times.append(await _timed(cache, tokens))
            counts[-1] = cache.statistics().analysed - counts[-1]
        second = clone(tree, f"{tree.name}-2")
        began = time.perf_counter()
        other = await stack.enter_async_context(RepositoryAnalysisCache(second, store=store))
        again = await other.map(tokens)
        cloned = time.perf_counter() - began
        analysed = (counts[0], counts[1], counts[2], other.statistics().analysed)
        return Measured(
            cold=cold,
            unchanged=unchanged,
            focused=focused,
            edited=edited,
            switched=times[0],
            switched_back=times[1],
            cloned=cloned,
            files=first.total_files,
            analysed=analysed,
            about=f"tokens counted by {again.counted}",
        )


async def _timed(cache: RepositoryAnalysisCache, tokens: int, focus: Sequence[str] = ()) -> float:
    began = time.perf_counter()
    await cache.map(tokens, focus)
    return time.perf_counter() - began

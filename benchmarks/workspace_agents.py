"""What an interaction with five sub-agents costs, with the caches and without."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.sheet import Table
from benchmarks.workspace_trees import sources
from fairlead import FileSystemCache, RepositoryAnalysisCache

_AGENTS = 5
_COORDINATOR_READS = 24
_AGENT_READS = 24
_SHARED = 0.8
"""Of a sub-agent's reads, those of files that the coordinator has read as well."""
_EDITS = 3
_GOALS = {"disk reads": 60, "of them again of the same file": 60, "analyses": 80}


async def agents_table(tree: Path, seed: int = 1) -> Table:
    """The five steps of an interaction: disk reads and analyses, counted."""
    chance = random.Random(seed)
    paths = sources(tree)
    known = chance.sample(paths, _COORDINATOR_READS)
    asked = maps = 0
    once = set(known)
    async with FileSystemCache(tree) as files, RepositoryAnalysisCache(tree) as repository:
        total = (await repository.map()).total_files
        analysed = repository.statistics().analysed
        time.sleep(2.5)  # noqa: ASYNC251 - files as old as those of a repository are
        for path in known:
            await files.read(path)
        asked += len(known)
        for agent in range(_AGENTS):
            await repository.map(focus=[known[agent]])
            maps += 1
            for _ in range(_AGENT_READS):
                path = chance.choice(known if chance.random() < _SHARED else paths)
                await files.read(path)
                once.add(path)
                asked += 1
            if agent < _EDITS:
                path = known[agent]
                content = await files.read(path)
                asked += 1
                text = content.data + b"\n\ndef added_by_an_agent():\n    return 1\n"
                await files.write(path, text, if_match=content.etag)
        await repository.map()
        maps += 1
        reads = files.statistics().reads
        analysed_later = repository.statistics().analysed - analysed
    first = len(once)
    again = "of them again of the same file"
    without = {"disk reads": asked, again: asked - first, "analyses": maps * total}
    cached = {"disk reads": reads, again: reads - first, "analyses": analysed_later}
    return Table(
        "An interaction with five sub-agents",
        ("what", "without", "with", "saved", "goal"),
        [_row(what, without, cached) for what in without],
        [
            f"A coordinator reads {_COORDINATOR_READS} files, {_AGENTS} sub-agents "
            f"{_AGENT_READS} each, four of five of them the coordinator's; each asks for a map, "
            f"{_EDITS} change a file. Without: every read is one of the disk, every map analyses "
            f"its {total:,} files. The map before it all is not counted for either.",
            "A file that was written less than two seconds before is read again to be sure, which "
            "counts.",
        ],
    )


def _row(what: str, without: Mapping[str, int], cached: Mapping[str, int]) -> list[str]:
    saved = 100 * (1 - cached[what] / without[what])
    verdict = "met" if saved >= _GOALS[what] else "missed"
    return [
        *(what, f"{without[what]:,}", f"{cached[what]:,}", f"{saved:.1f} %"),
        f"≥ {_GOALS[what]} %: {verdict}",
    ]

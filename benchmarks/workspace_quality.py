"""Whether a map about the words of a commit shows the files that the commit has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sheet import Table
from benchmarks.workspace_trees import Question
from fairlead import RepositoryAnalysisCache
from fairlead.workspace.tokens import token_counter


@dataclass(frozen=True)
class Answers:
    """The files in the map of each question, and the maps' texts or sizes."""

    files: Sequence[set[str]]
    texts: Sequence[str]


async def ask_ours(tree: Path, tokens: int, questions: Sequence[Question]) -> Answers:
    """A map about each question."""
    async with RepositoryAnalysisCache(tree) as cache:
        maps = [await cache.map(tokens, [question.text[:4_000]]) for question in questions]
    return Answers([{file.path for file in one.files} for one in maps], [one.text for one in maps])


def quality_table(
    name: str, questions: Sequence[Question], answers: Mapping[str, Answers]
) -> Table:
    """Recall at equal budget, side by side."""
    rows = []
    count = token_counter().count
    for who, given in answers.items():
        hits = [
            sum(file in shown for file in question.files)
            for question, shown in zip(questions, given.files, strict=True)
        ]
        total = sum(len(question.files) for question in questions)
        any_hit = sum(hit > 0 for hit in hits)
        sizes = [count(text) for text in given.texts]
        rows.append(
            [
                who,
                f"{sum(hits) / total:.2f}",
                f"{any_hit / len(questions):.2f}",
                f"{sum(len(shown) for shown in given.files) / len(questions):.0f}",
                f"{sum(sizes) / len(sizes):,.0f}",
            ]
        )
    heads = ("map", "recall of files", "commits with any", "files shown, mean", "tokens, mean")
    notes = [
        f"{len(questions)} commits of {name} with at most 5 files, the newest first; each map is "
        "about its commit's message, on the tree as it is now. Tokens by one and the same counter.",
    ]
    return Table("Does the map show what a commit changes?", heads, rows, notes)

"""aider's repository map on the same work.

Run by the interpreter of an environment that has `aider-chat`; it imports nothing of this
repository. `python workspace_aider.py` reads its task as JSON from standard input and prints what
it measured: seconds of each map, and the files that stand in the maps of each question.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_MIN_NAME = 5
"""Letters from which aider takes a word for the name of a file without its ending."""


class Maps:
    """Maps of one directory, made as aider makes them where no file is in the chat."""

    def __init__(self, root: str, tokens: int, files: Sequence[str]) -> None:
        os.chdir(root)
        models = importlib.import_module("aider.models")
        kind = importlib.import_module("aider.repomap").RepoMap
        quiet = importlib.import_module("aider.io").InputOutput(
            pretty=False, yes=True, fancy_input=False
        )
        self._root = root
        self._files = [str(Path(root) / name) for name in files]
        # `always`: what is measured is a map, not the dictionary of the last ones.
        self._maps = kind(
            map_tokens=tokens,
            root=root,
            main_model=models.Model("gpt-4o"),
            io=quiet,
            refresh="always",
        )

    def map(self, words: Iterable[str] = ()) -> str:
        """The map with what these words name raised."""
        asked = set(words)
        return self._maps.get_repo_map([], self._files, self._named(asked), asked) or ""

    def _named(self, words: set[str]) -> set[str]:
        wanted = {word.lower() for word in words if len(word) >= _MIN_NAME}
        names = (os.path.relpath(path, self._root) for path in self._files)
        return {name for name in names if Path(name).stem.lower() in wanted}

    def close(self) -> None:
        """Let go of the cache of tags."""
        self._maps.TAGS_CACHE.close()


def main() -> None:
    """Do the task and print its figures."""
    task = json.load(sys.stdin)
    # aider and its libraries talk on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        found = _measure(task)
    print(json.dumps(found))


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"version": importlib.metadata.version("aider-chat")}
    maps = Maps(task["root"], task["tokens"], task["files"])
    began = time.perf_counter()
    found["text"] = maps.map()
    found["cold"] = time.perf_counter() - began
    found["unchanged"] = [_timed(maps) for _ in range(task["rounds"])]
    found["edited"] = []
    for path, text in task["edits"]:
        Path(path).write_text(text, encoding="utf-8")
        found["edited"].append(_timed(maps))
    texts = [maps.map(_words(text)) for text in task["questions"]]
    found["answers"] = [_files_of(text) for text in texts]
    found["texts"] = texts
    maps.close()
    return found


def _timed(maps: Maps) -> float:
    began = time.perf_counter()
    maps.map()
    return time.perf_counter() - began


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"\W+", text) if word]


def _files_of(text: str) -> list[str]:
    """The files that a map names: their lines are not indented, and end with a colon or alone."""
    lines = (line for line in text.splitlines() if line and line[0] not in "│⋮█ \t")
    return [line.rstrip(":").strip() for line in lines]


if __name__ == "__main__":
    main()

"""The trees that workspaces are measured on, copied to where they may be changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import BenchmarkError

_LEFT_OUT = shutil.ignore_patterns("site-packages", "__pycache__", "*.so", "*.a", "*.pyc", ".git")
_MAX_CHANGED = 5
"""Files of a commit that is asked about: larger ones are about no one thing."""
_MIN_WORDS = 3


@dataclass(frozen=True)
class Question:
    """What a commit said, and the files that it changed."""

    text: str
    files: Sequence[str]


def standard_library(folder: Path) -> Path:
    """A copy of the interpreter's own library."""
    folder.mkdir(exist_ok=True)
    return _copied(Path(sysconfig.get_paths()["stdlib"]), folder / "stdlib")


def installed_packages(folder: Path) -> Path:
    """A copy of what is installed in this environment."""
    place = folder / "packages"
    return Path(
        shutil.copytree(
            sysconfig.get_paths()["purelib"],
            place,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.so*", "*.pyc", "*.libs"),
        )
    )


def clone(tree: Path, name: str) -> Path:
    """A second copy of a tree, beside it."""
    return Path(shutil.copytree(tree, tree.with_name(name), symlinks=True))


def edits(tree: Path, count: int) -> list[tuple[Path, str]]:
    """Files and what each is to say: as before, with a function more."""
    paths = sorted(tree.rglob("*.py"))
    step = len(paths) // (count + 1)
    found = []
    for number in range(1, count + 1):
        text = paths[number * step].read_text(encoding="utf-8", errors="replace")
        more = f"\n\ndef added_for_the_benchmark_{number}(value):\n    return value\n"
        found.append((paths[number * step], text + more))
    return found


def branch(tree: Path, count: int) -> Iterator[dict[Path, bytes]]:
    """What so many files say on another branch, and then what they said before."""
    paths = sorted(tree.rglob("*.py"))[:: max(1, len(list(tree.rglob("*.py"))) // count)][:count]
    before = {path: path.read_bytes() for path in paths}
    yield {path: data + b"\n\nON_ANOTHER_BRANCH = 1\n" for path, data in before.items()}
    yield before


def sources(tree: Path) -> list[str]:
    """The Python files of a tree, sorted."""
    return sorted(_walk(tree))


def history(repository: Path, most: int) -> list[Question]:
    """The latest commits with a few changed files that are there still, as questions."""
    log = _git(repository, "log", "--no-merges", "--name-only", "--format=%x00%s%n%b%x01")
    found = []
    for entry in log.split("\0")[1:]:
        text, _, names = entry.partition("\x01")
        files = [name for name in names.split("\n") if name]
        there = [name for name in files if _is_source(repository / name)]
        if there and len(files) <= _MAX_CHANGED and _is_question(text):
            found.append(Question(text.strip(), there))
        if len(found) == most:
            break
    if not found:
        raise BenchmarkError(f"{repository}: no commit of its history can be asked about")
    return found


def checkout(repository: Path, folder: Path) -> Path:
    """A copy of a repository with its history, whose files may be changed."""
    place = folder / "history"
    done = subprocess.run(
        ["git", "clone", "--quiet", str(repository), str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{repository}: {done.stderr.strip()}")
    return place


def _copied(tree: Path, place: Path) -> Path:
    return Path(shutil.copytree(tree, place, symlinks=True, ignore=_LEFT_OUT))


def _walk(tree: Path) -> Iterator[str]:
    for folder, _, names in os.walk(tree):
        for name in names:
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(folder, name), tree)  # noqa: PTH118 - thousands


def _is_source(path: Path) -> bool:
    return path.suffix in {".py", ".js", ".ts", ".go", ".rs", ".java"} and path.is_file()


def _is_question(text: str) -> bool:
    return len(re.findall(r"[A-Za-z]{3,}", text)) >= _MIN_WORDS


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{repository}: {done.stderr.strip()}")
    return done.stdout

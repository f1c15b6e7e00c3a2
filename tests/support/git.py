"""Real git repositories, where git is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.invalid",
}


class Git:
    """A working tree."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str) -> str:
        """What git prints; a failure fails the test."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env={**_outside_of_git(), **_ENVIRONMENT},
            check=True,
            capture_output=True,
            text=True,
            timeout=15,
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commit all there is, and be it nothing; the commit."""
        self.run("add", "--all")
        self.run("commit", "--quiet", "--allow-empty", "--message", message)
        return self.run("rev-parse", "HEAD")


def git_or_skip(root: Path) -> Git:
    """A new repository with the branch `main`; the test is skipped where git is not installed."""
    if shutil.which("git") is None:
        if "CI" in os.environ:
            pytest.fail("git is not installed")
        pytest.skip("git is not installed")
    root.mkdir(parents=True, exist_ok=True)
    git = Git(root)
    git.run("init", "--quiet", "--initial-branch=main")
    return git


def _outside_of_git() -> dict[str, str]:
    # Where the tests are run by a hook, git's variables speak of another repository.
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

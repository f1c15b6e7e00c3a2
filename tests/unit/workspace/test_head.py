"""HEAD read from git's files: beside git itself where it is installed, and from hostile ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fairlead.workspace.head import head_of
from support.git import Git, git_or_skip

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return git_or_skip(tmp_path / "repository")


def made(root: Path, files: dict[str, str]) -> Path:
    """A directory with a `.git` of these files."""
    for name, text in files.items():
        path = root / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


# ---- beside git


def test_a_branch_and_its_next_commit(git: Git) -> None:
    first = git.commit("one")
    assert head_of(git.root) == first

    second = git.commit("two")
    assert head_of(git.root) == second != first


def test_a_branch_before_its_first_commit(git: Git) -> None:
    assert head_of(git.root) == "refs/heads/main"


def test_packed_branches(git: Git) -> None:
    commit = git.commit("one")
    git.run("branch", "main-2")
    git.run("tag", "-a", "-m", "peeled", "v1")
    git.run("pack-refs", "--all")
    assert not (git.root / ".git/refs/heads/main").exists()

    assert head_of(git.root) == commit


def test_a_branch_that_was_packed_and_has_gone_on(git: Git) -> None:
    git.commit("one")
    git.run("pack-refs", "--all")
    commit = git.commit("two")

    assert head_of(git.root) == commit


def test_a_detached_head(git: Git) -> None:
    first = git.commit("one")
    git.commit("two")
    git.run("checkout", "--quiet", first)

    assert head_of(git.root) == first


@pytest.mark.parametrize("packed", [False, True])
def test_a_worktree(git: Git, tmp_path: Path, packed: bool) -> None:
    git.commit("one")
    git.run("worktree", "add", "--quiet", "-b", "topic/deep", str(tmp_path / "worktree"))
    worktree = Git(tmp_path / "worktree")
    commit = worktree.commit("two")
    if packed:
        git.run("pack-refs", "--all")

    assert head_of(worktree.root) == commit != head_of(git.root)


def test_a_submodule(git: Git, tmp_path: Path) -> None:
    inner = git_or_skip(tmp_path / "inner")
    commit = inner.commit("inner")
    allowed = ("-c", "protocol.file.allow=always")
    git.run(*allowed, "submodule", "add", "--quiet", str(inner.root), "in")
    git.commit("outer")

    assert head_of(git.root / "in") == commit


# ---- by hand


@pytest.mark.parametrize(
    "head", [COMMIT, f"{COMMIT}\n", "a" * 64, "ref: refs/heads/main\n", "ref: refs/heads/a/b"]
)
def test_what_a_head_may_say(tmp_path: Path, head: str) -> None:
    files = {"HEAD": head, "refs/heads/main": COMMIT, "packed-refs": f"{OTHER} refs/heads/a/b\n"}

    assert head_of(made(tmp_path, files)) in {COMMIT, OTHER, "a" * 64}


@pytest.mark.parametrize(
    "head",
    [
        *("", "\n", "ref: ", "ref: HEAD", "ref: /etc/passwd", "ref: refs/../../secret"),
        *("ref: refs/heads/a\0b", "ref: refs/heads/a b", COMMIT[:-1], f"{COMMIT}0", COMMIT.upper()),
        "x" * 10_000,
    ],
)
def test_what_is_no_head(tmp_path: Path, head: str) -> None:
    (tmp_path / "secret").write_text(COMMIT)

    assert head_of(made(tmp_path, {"HEAD": head})) is None


def test_a_name_that_ends_like_the_branch_is_not_it(tmp_path: Path) -> None:
    packed = f"# pack-refs with: peeled \n{OTHER} refs/heads/x/main\n{COMMIT} refs/heads/main\n"
    files = {"HEAD": "ref: refs/heads/main", "packed-refs": packed}

    assert head_of(made(tmp_path, files)) == COMMIT


def test_no_repository(tmp_path: Path) -> None:
    assert head_of(tmp_path) is None
    assert head_of(tmp_path / "gone") is None


@pytest.mark.parametrize(
    "text", ["", "gitdir: ", "gitdir: /nowhere", "gitdir: a\0b", "nonsense", "gitdir: ."]
)
def test_a_git_file_that_leads_nowhere(tmp_path: Path, text: str) -> None:
    (tmp_path / ".git").write_text(text)

    assert head_of(tmp_path) is None


def test_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a/.git").mkdir(parents=True)
    os.mkfifo(tmp_path / "a/.git/HEAD")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b/.git")

    assert head_of(tmp_path / "a") is None
    assert head_of(tmp_path / "b") is None


def test_what_is_told_of_a_file_elsewhere_is_a_hash_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/HEAD").write_text("a secret\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/.git").write_text(f"gitdir: {tmp_path}/elsewhere\n")

    assert head_of(tmp_path / "here") is None


def test_a_commit_is_found_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("git") is None

    assert head_of(made(tmp_path, {"HEAD": COMMIT})) == COMMIT

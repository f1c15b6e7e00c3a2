"""Trees: what is listed, what is left out and counted, and that a second look is as good as new."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.testing import ManualClock
from fairlead.workspace.base import Tree
from fairlead.workspace.paths import Root
from fairlead.workspace.tree import TreeSnapshot, list_tree


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "root").mkdir()
    opened = Root(tmp_path / "root")
    opened.open()
    yield opened
    opened.close()


def fill(root: Root, *names: str, text: str = "") -> None:
    for name in names:
        path = root.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def paths(tree: Tree) -> list[str]:
    return [file.path for file in tree.files]


def aged(root: Root) -> TreeSnapshot:
    """A look that believes what it sees, at a tree in which every change will show."""
    for path in (root.path, *root.path.rglob("*")):
        if not path.is_symlink():
            os.utime(path, (1, 1))
    return TreeSnapshot(clock=ManualClock(start=4_000_000_000.0))


def test_files_are_listed_sorted_and_with_their_stamps(root: Root) -> None:
    fill(root, "b.py", "a/c.py", "a.py", "a/b/d.py")
    tree = list_tree(root)
    assert paths(tree) == ["a.py", "a/b/d.py", "a/c.py", "b.py"]
    assert all(file.stamp == root.stamp(file.path) for file in tree.files)
    assert tree.skipped == {}


def test_ignore_files_are_obeyed_where_they_stand(root: Root) -> None:
    fill(root, "a.log", "b/a.log", "b/keep.log", "b/c.tmp", "dist/x", "c/dist/x", "z.secret")
    fill(root, ".gitignore", text="*.log\n/dist\n")
    fill(root, "b/.gitignore", text="!keep.log\n")
    fill(root, "b/.ignore", text="*.tmp\n")
    fill(root, ".git/info/exclude", text="*.secret\n")
    assert paths(list_tree(root)) == ["b/keep.log", "c/dist/x"]
    everything = paths(list_tree(root, ignored=True))
    assert {"a.log", "dist/x", "b/c.tmp", "z.secret"} <= set(everything)
    assert ".gitignore" in paths(list_tree(root, hidden=True))
    assert not [path for path in paths(list_tree(root, hidden=True)) if path.startswith(".git/")]


def test_what_is_left_out_is_counted(root: Root, tmp_path: Path) -> None:
    fill(root, "a.py", "sub/module.py", "nested/.git/HEAD", "nested/x.py")
    fill(root, "sub/.git", text="gitdir: ../.git/modules/sub\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("")
    (root.path / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root.path / "link.py").symlink_to("a.py")
    os.mkfifo(root.path / "pipe")
    Path(os.fsdecode(os.fsencode(root.path) + b"/\xff.py")).write_text("")
    tree = list_tree(root)
    assert paths(tree) == ["a.py"]
    assert tree.skipped == {"symlink": 2, "special": 1, "submodule": 2, "unreadable": 1}


def test_a_tree_that_is_too_large_is_refused(root: Root) -> None:
    fill(root, *(f"{number}.py" for number in range(11)))
    assert len(list_tree(root, max_files=11).files) == 11
    with pytest.raises(RequestError, match=r"\.gitignore") as refused:
        list_tree(root, max_files=10)
    assert refused.value.status == 413


def test_what_has_not_changed_is_not_walked_again(root: Root) -> None:
    fill(root, "a/b.py", "c.py", text="one")
    snapshot = aged(root)
    first = snapshot.again(root)
    (root.path / "c.py").write_text("another")
    second = snapshot.again(root)
    assert snapshot.walks == 1
    assert paths(first) == paths(second)
    assert first.files != second.files


def test_what_is_young_is_walked_again(root: Root) -> None:
    fill(root, "a.py")
    snapshot = TreeSnapshot()
    snapshot.again(root)
    snapshot.again(root)
    assert snapshot.walks == 2


@pytest.mark.parametrize("name", [".gitignore", ".ignore", ".git/info/exclude"])
def test_an_ignore_file_that_comes_or_changes_is_noticed(root: Root, name: str) -> None:
    fill(root, "a.py", "b.py", ".git/info/x")
    snapshot = aged(root)
    assert paths(snapshot.again(root)) == ["a.py", "b.py"]
    fill(root, name, text="a.py\n")
    assert paths(snapshot.again(root)) == ["b.py"]
    snapshot = aged(root)
    assert paths(snapshot.again(root)) == ["b.py"]
    fill(root, name, text="b.py\n")
    assert paths(snapshot.again(root)) == ["a.py"]


def test_a_directory_that_becomes_a_link_is_not_entered(root: Root, tmp_path: Path) -> None:
    fill(root, "a/b.py")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.py").write_text("secret")
    snapshot = aged(root)
    assert paths(snapshot.again(root)) == ["a/b.py"]
    (root.path / "a").rename(root.path / "old")
    (root.path / "a").symlink_to(tmp_path / "outside", target_is_directory=True)
    assert paths(snapshot.again(root)) == ["old/b.py"]


NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "f"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "rename", "ignore"]), NAMES, NAMES), max_size=8
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_a_second_look_is_as_good_as_a_new_one(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    root = Root(tmp_path_factory.mktemp("root"))
    root.open()
    try:
        fill(root, "a", "d/a")
        snapshot = TreeSnapshot()
        for step, name, other in steps:
            _change(root.path, step, root.path / name, root.path / other)
            assert snapshot.again(root) == list_tree(root)
    finally:
        root.close()


def _change(root: Path, step: str, path: Path, other: Path) -> None:
    if step == "ignore":
        (root / ".gitignore").write_text(f"{path.name}\n")
    elif step == "remove":
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    elif step == "rename":
        if path.exists() and not other.exists() and other.parent.is_dir():
            path.rename(other)
    elif not path.is_dir() and all(not above.is_file() for above in path.parents):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

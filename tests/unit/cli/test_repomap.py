"""`fairlead repomap` on real directories: what it prints, keeps, and its exit statuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from fairlead.cli import main
from fairlead.workspace import analysed
from fairlead.workspace.tokens import APPROXIMATE, TokenCounter, approximate
from support.repositories import SHOP, write

EVIL = "\x1b]0;owned\x07"


class Told(NamedTuple):
    """What a command has printed."""

    out: str
    err: str


@pytest.fixture(autouse=True)
def excepthook() -> Iterator[None]:
    """The command line puts its own in place."""
    before = sys.excepthook
    yield
    sys.excepthook = before


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact one takes a second to load."""
    estimate = TokenCounter(APPROXIMATE, approximate)
    monkeypatch.setattr(analysed, "token_counter", lambda: estimate)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", SHOP)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Told]:
    """Runs the command with a data directory of its own."""
    monkeypatch.chdir(write(tmp_path / "here", {"empty": ""}))

    def call(*arguments: object, status: int = 0) -> Told:
        command = typer.main.get_command(main.app)
        given = ["repomap", *map(str, arguments), "--data-dir", str(tmp_path / "data")]
        with pytest.raises(SystemExit) as caught:
            command(given, prog_name="fairlead")
        told = Told(*capsys.readouterr())
        assert int(caught.value.code or 0) == status, told
        return told

    return call


def test_a_map_and_a_summary(run: Callable[..., Told], shop: Path) -> None:
    (shop / "picture.png").write_bytes(b"\0")
    told = run(shop)

    assert "shop/cart.py:\n class ShoppingCart:\n" in told.out
    assert told.err == (
        f"7 files, 6 of them shown; 1 binary; {approximate(told.out)} of 2,000 tokens, estimated\n"
    )


def test_a_budget_and_a_focus(run: Callable[..., Told], shop: Path) -> None:
    told = run(shop, "--tokens", "64", "--focus", "web/index.ts", "--focus", "renderCart")

    assert told.out.startswith("web/index.ts:\n")
    assert "of 64 tokens" in told.err
    assert approximate(told.out) <= 64


def test_json_for_scripts(run: Callable[..., Told], shop: Path) -> None:
    found = json.loads(run(shop, "--json").out)

    assert found["total_files"] == len(SHOP)
    assert "class ShoppingCart" in found["text"]
    assert {"etag", "tokens", "counted", "files", "skipped", "broken"} <= set(found)


def test_dependencies(run: Callable[..., Told], shop: Path) -> None:
    write(shop, {"shop/cart.py": "import json\n" + SHOP["shop/cart.py"]})
    told = run(shop, "--dependencies")

    assert "shop/cart.py:\n shop/prices.py\n" in told.out
    assert "1 imports lead out" in told.err
    only = json.loads(run(shop, "--dependencies", "--json", "--focus", "tests").out)
    assert set(only["uses"]) == {"tests/test_cart.py"}


def test_analyses_are_kept(run: Callable[..., Told], shop: Path, tmp_path: Path) -> None:
    first = run(shop)
    file = tmp_path / "data/analyses.sqlite"
    assert file.stat().st_size > 0

    assert run(shop) == first


def test_a_damaged_file_of_analyses_is_set_aside(
    run: Callable[..., Told], shop: Path, tmp_path: Path
) -> None:
    first = run(shop)
    (tmp_path / "data/analyses.sqlite").write_bytes(b"no database" * 1000)

    assert run(shop).out == first.out
    assert (tmp_path / "data/analyses.sqlite.unusable").exists()


def test_nothing_of_a_repository_reaches_the_terminal(
    run: Callable[..., Told], tmp_path: Path
) -> None:
    root = write(tmp_path / "evil", {f"a{EVIL}.py": f"def f(x='{EVIL}'): pass\n"})

    assert "\x1b" not in "".join([*run(root), *run(root, "--json")])


def test_an_empty_directory(run: Callable[..., Told], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()

    told = run(tmp_path / "nothing")

    assert told.out == ""
    assert told.err.startswith("0 files")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tokens", "1"], "between"),
        (["--tokens", "x"], "--tokens"),
        (["--focus", "x" * 5000], "--focus"),
        (["--dependencies", "--tokens", "100"], "--tokens"),
        (["--no-such"], "--no-such"),
    ],
)
def test_wrong_usage(run: Callable[..., Told], shop: Path, arguments: list[str], says: str) -> None:
    assert says in run(shop, *arguments, status=2).err


def test_no_such_directory(run: Callable[..., Told], shop: Path) -> None:
    assert "gone" in run(shop / "gone", status=2).err
    assert "README.md" in run(shop / "README.md", status=2).err


def test_a_path_that_is_not_in_the_tree(run: Callable[..., Told], shop: Path) -> None:
    assert "gone.py" in run(shop, "--dependencies", "--focus", "gone.py", status=1).err

"""The guide lists every setting as it is: what it accepts, its default and its variable."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fairlead.settings import load_settings
from fairlead.settings.catalogue import Entry, entries

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "configuration.md"


def rows() -> dict[str, list[str]]:
    """Key -> the cells of its row in the guide's tables."""
    found = {}
    for line in GUIDE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if match := re.fullmatch(r"`([a-z]+\.[a-z_]+)`", cells[0]):
            found[match[1]] = cells[1:]
    return found


@pytest.mark.parametrize("entry", list(entries()), ids=lambda entry: entry.key)
def test_every_setting_is_in_the_guide(entry: Entry) -> None:
    accepted, default = rows()[entry.key][:2]
    assert accepted == entry.allowed
    assert default.strip("`") == entry.default


def test_the_guide_has_no_setting_that_does_not_exist() -> None:
    assert set(rows()) == {entry.key for entry in entries()}


def test_the_examples_of_the_guide_are_accepted(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        tomllib.loads(example)
        file = tmp_path / f"{number}.toml"
        file.write_text(example)
        variables = dict.fromkeys(re.findall(r'"([A-Z]+_KEY[A-Z_0-9]*)"', example), "made-up")
        assert load_settings(file, variables).file == file

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from fairlead.app.states import SharedStates


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


@pytest.fixture
def states(directory: Path) -> SharedStates:
    return SharedStates(directory)


@pytest.fixture
def other(directory: Path) -> SharedStates:
    """The same of another worker."""
    return SharedStates(directory)


def test_nothing_is_set_at_first(states: SharedStates) -> None:
    assert states.changed() == {}


def test_what_one_worker_sets_the_other_reads_once(
    states: SharedStates, other: SharedStates
) -> None:
    states.set({"a": "draining"})
    assert other.changed() == {"a": "draining"}
    assert other.changed() == {}
    states.set({"a": "active", "b": "draining"})
    assert other.changed() == {"a": "active", "b": "draining"}


def test_each_adds_to_what_the_others_have_set(states: SharedStates, other: SharedStates) -> None:
    states.set({"a": "draining"})
    other.set({"b": "draining"})
    assert states.changed() == {"a": "draining", "b": "draining"}


def test_one_that_comes_later_reads_everything(states: SharedStates, directory: Path) -> None:
    states.set({"a": "draining"})
    states.set({"b": "active"})
    assert SharedStates(directory).changed() == {"a": "draining", "b": "active"}


def test_the_configuration_takes_single_ones_back(
    states: SharedStates, other: SharedStates
) -> None:
    states.set({"a": "draining", "b": "draining"})
    other.forget({"a", "unknown"})
    assert states.changed() == {"b": "draining"}


def test_forgetting_what_is_not_set_wakes_nobody(states: SharedStates, other: SharedStates) -> None:
    other.forget({"a"})
    assert states.changed() == {}
    states.set({"a": "draining"})
    assert states.changed()
    other.forget({"b"})
    assert states.changed() == {}


def test_a_new_start_begins_anew(states: SharedStates, directory: Path) -> None:
    states.set({"a": "draining"})
    states.clear()
    states.clear()
    assert SharedStates(directory).changed() == {}
    states.set({"b": "draining"})
    assert states.changed() == {"b": "draining"}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": "asleep"}', b"\xff"])
def test_a_file_that_cannot_be_read_is_empty_and_told(
    states: SharedStates, directory: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    states.set({"a": "draining"})
    (path,) = directory.glob("*.json")
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert states.changed() == {}
    assert "lost" in caplog.text
    states.set({"b": "draining"})
    assert states.changed() == {"b": "draining"}


def test_a_reader_never_finds_a_part_of_it(states: SharedStates, directory: Path) -> None:
    """Replaced in one step: nothing else that could be read lies beside it."""
    states.set({f"server-{number}": "draining" for number in range(100)})
    files = [path for path in directory.iterdir() if path.stat().st_size]
    assert len(files) == 1
    assert len(json.loads(files[0].read_bytes())) == 100

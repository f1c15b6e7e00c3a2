"""Stamps that may be believed, and those that are too young for it."""

from __future__ import annotations

import pytest

from fairlead.workspace.base import Stamp
from fairlead.workspace.stamps import is_young
from fairlead.workspace.walking import Step, Trail


@pytest.mark.parametrize(
    ("modified", "changed", "young"),
    [
        (97.0, 97.0, False),
        (98.0, 97.0, False),
        (97.0, 98.1, True),
        (98.1, 97.0, True),
        (200, 1, True),
    ],
)
def test_young_is_what_may_have_been_written_in_the_grain_of_the_clock(
    modified: float, changed: float, young: bool
) -> None:
    stamp = Stamp(1, 2, 3, int(modified * 1e9), int(changed * 1e9))

    assert is_young(stamp, moment=100.0, age=2.0) == young


def test_a_trail_is_as_young_as_its_youngest_link() -> None:
    directory = Step("d", 0o40755, None)
    old = Step("d/l", 0o120777, Stamp(1, 2, 3, 4, int(50e9)))
    young = Step("d/l", 0o120777, Stamp(1, 2, 3, 4, int(99e9)))

    assert not Trail((directory, old), "f").is_young(moment=100.0, age=2.0)
    assert Trail((directory, old, young), "f").is_young(moment=100.0, age=2.0)
    assert not Trail((), "f").is_young(moment=100.0, age=2.0)

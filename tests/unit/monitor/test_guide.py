"""The guide tells what the code shows: no family and no field is missing or different."""

from __future__ import annotations

import re
from pathlib import Path

from fairlead.monitor.accesslog import AccessLine
from fairlead.monitor.families import FAMILIES, Family

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "monitoring.md").read_text("utf-8")


def row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    merge = "" if family.merge == "sum" else f" ({family.merge})"
    cells = (f"`{family.name}`", family.kind, labels, family.help + merge)
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def test_every_metric_is_in_the_guide_as_it_is() -> None:
    rows = re.findall(r"^\| `(?:fairlead|process)_.*\|$", GUIDE, re.MULTILINE)
    assert rows == [row(family) for family in FAMILIES.values()]


def test_every_field_of_the_access_log_is_in_the_guide_in_order() -> None:
    table = GUIDE.split("## Access log")[1].split("## Secrets")[0]
    first_cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(first_cells)) == list(AccessLine.__struct_fields__)

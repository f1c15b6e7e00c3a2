"""What `fairlead doctor` looks at: one function for each question, one `Check` for each answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """One finding. `fix` says what to do about it and is empty where all is well."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def passed(name: str, detail: str) -> Check:
    """All is well."""
    return Check(name, "ok", detail)


def warned(name: str, detail: str, fix: str) -> Check:
    """The node works, but not as well as it should."""
    return Check(name, "warning", detail, fix)


def failed(name: str, detail: str, fix: str) -> Check:
    """The node, or one of its upstreams, cannot work like this."""
    return Check(name, "failed", detail, fix)

"""Random JSON request bodies, and other spellings of the same body."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

LABELS = ("user", "metadata", "safety_identifier", "prompt_cache_key")

Json = Any
"""Whatever JSON can hold."""
Path = tuple[Any, ...]
"""Keys and indices from the top to one value."""

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
FIELDS = (
    st.sampled_from(["model", "messages", "tools", "seed", "stop", "content", "role", *LABELS])
    | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(FIELDS, VALUES, max_size=6)


def places(value: Json, path: Path = ()) -> list[Path]:
    """The path of every value inside `value`, containers and scalars."""
    found: list[Path] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [(*path, key), *places(inner, (*path, key))]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += [(*path, index), *places(inner, (*path, index))]
    return found


def counts(path: Path) -> bool:
    """Whether a field there is more than a label of the caller."""
    return path[0] not in LABELS


def copy_of(body: Json) -> Json:
    """A deep copy, exact for every type that JSON has."""
    if isinstance(body, dict):
        return {key: copy_of(value) for key, value in body.items()}
    return [copy_of(value) for value in body] if isinstance(body, list) else body


def at(body: Json, path: Path) -> Json:
    """The value at `path`."""
    for step in path:
        body = body[step]
    return body


def same(first: Json, second: Json) -> bool:
    """Equal as JSON texts are: 1, 1.0 and true are three values, and so are 0.0 and -0.0."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second) and repr(first) == repr(second)


def spelled(value: Json, seed: int) -> str:
    """`value` as JSON text with random order of keys, white space and escapes."""
    return _spelled(value, random.Random(seed))  # noqa: S311 - a spelling is no secret


def _spelled(value: Json, dice: random.Random) -> str:
    gap = dice.choice(["", " ", "\n", "\t ", "\r\n"])
    if isinstance(value, dict):
        items = list(value.items())
        dice.shuffle(items)
        inner = ",".join(
            f"{gap}{_spelled(key, dice)}{gap}:{gap}{_spelled(item, dice)}{gap}"
            for key, item in items
        )
        return f"{gap}{{{inner}}}{gap}"
    if isinstance(value, list):
        return f"[{gap}{','.join(_spelled(item, dice) + gap for item in value)}]"
    if isinstance(value, str):
        return '"' + "".join(_character(one, dice) for one in value) + '"'
    return json.dumps(value)


def _character(one: str, dice: random.Random) -> str:
    must = one in '"\\' or one < " "
    if not must and dice.random() < 0.7:
        return one
    if one == "/" and dice.random() < 0.5:
        return "\\/"
    units = one.encode("utf-16-be").hex()
    units = units.upper() if dice.random() < 0.5 else units
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))

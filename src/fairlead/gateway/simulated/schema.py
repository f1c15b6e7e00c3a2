"""Example values that meet a JSON schema (the parts of draft 2020-12 that tools use).

`pattern`, `not`, `if` and `uniqueItems` are not understood; a tool that uses them to forbid the
plain value gets an argument that it may refuse, as from a real model.
"""

from __future__ import annotations

from typing import Any

_MAX_DEPTH = 12
_MAX_VALUES = 1_000
_MAX_ITEMS = 16
_MAX_PARTS = 64
_MAX_LENGTH = 1_000
_FORMATS = {
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: object) -> Any:
    """A value for `schema`, the same each time; required properties only, bounded in size."""
    return _Generator(schema).value(schema, 0)


class _Generator:
    def __init__(self, root: object) -> None:
        self._root = root
        self._left = _MAX_VALUES

    def value(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > _MAX_DEPTH or self._left < 0:
            return None
        given = _given(schema)
        if given is not None:
            return given[0]
        for word in ("$ref", "allOf", "anyOf", "oneOf"):
            if word in schema:
                return self.value(self._resolved(schema, word), depth + 1)
        return self._by_type(schema, depth)

    def _resolved(self, schema: dict[str, Any], word: str) -> dict[str, Any]:
        """`schema` with `word` replaced by what it stands for."""
        rest = {key: value for key, value in schema.items() if key != word}
        parts = [self._target(schema[word])] if word == "$ref" else schema[word]
        if not isinstance(parts, list):
            return rest
        for part in parts[: _MAX_PARTS if word == "allOf" else 1]:
            rest = _merged(rest, part) if isinstance(part, dict) else rest
        return rest

    def _target(self, reference: object) -> object:
        found = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        for name in reference.removeprefix("#").strip("/").split("/"):
            if name and isinstance(found, dict):
                found = found.get(name.replace("~1", "/").replace("~0", "~"))
        return found

    def _by_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array" or (kind is None and "items" in schema):
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return None if kind == "null" else _string(schema)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
        # A property without a schema may be anything, and an empty schema gives a string.
        return {name: self.value(known.get(name, {}), depth + 1) for name in names[:_MAX_VALUES]}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        wanted = min(_whole(schema.get("minItems"), 1), _MAX_ITEMS)
        prefix = schema.get("prefixItems")
        items = prefix[:wanted] if isinstance(prefix, list) else []
        items += [schema.get("items", {})] * (wanted - len(items))
        return [self.value(item, depth + 1) for item in items]


def _given(schema: dict[str, Any]) -> list[Any] | None:
    """A value that the schema itself names, in a list of one."""
    if "const" in schema:
        return [schema["const"]]
    for word in ("enum", "examples"):
        if isinstance(schema.get(word), list) and schema[word]:
            return [schema[word][0]]
    return [schema["default"]] if "default" in schema else None


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = {**first, **second}
    one, two = first.get("properties"), second.get("properties")
    if isinstance(one, dict) and isinstance(two, dict):
        merged["properties"] = {**one, **two}
    one, two = first.get("required"), second.get("required")
    if isinstance(one, list) and isinstance(two, list):
        merged["required"] = [*one, *two]
    return merged


def _whole(value: object, fallback: int) -> int:
    return value if type(value) is int and value >= 0 else fallback


def _real(value: object) -> float | None:
    # Beyond this, arithmetic on hostile bounds would overflow or lose the unit step.
    return value if type(value) in {int, float} and abs(value) < 1e15 else None  # type: ignore[arg-type,return-value] # the type was just compared


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    """The first of a few likely numbers that is within the bounds and a multiple of the step."""
    step = abs(_real(schema.get("multipleOf")) or 1)
    # A smaller step makes a division overflow that no real tool asks for.
    step = step if step > 1e-9 else 1
    words = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    low, high, above, below = (_real(schema.get(word)) for word in words)
    bounds = [bound for bound in (low, high, above, below) if bound is not None]
    near = [*bounds, *(bound + step for bound in bounds), *(bound - step for bound in bounds)]
    middle = [sum(bounds) / len(bounds)] if bounds else []
    for likely in (1, *near, *middle):
        stepped = whole or "multipleOf" in schema
        value = -(-likely // step) * step if stepped else likely
        if (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (below is None or value < below)
        ):
            return int(value) if whole else value
    return 1


def _string(schema: dict[str, Any]) -> str:
    kind = schema.get("format")
    text = _FORMATS.get(kind, "simulated") if isinstance(kind, str) else "simulated"
    shortest = min(_whole(schema.get("minLength"), 0), _MAX_LENGTH)
    longest = _whole(schema.get("maxLength"), _MAX_LENGTH)
    return text.ljust(shortest, "d")[: max(longest, shortest)]

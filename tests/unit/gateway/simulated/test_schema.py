from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.simulated.schema import example

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 5}, "y": {"type": "number", "maximum": -1}},
    "required": ["x", "y"],
    "additionalProperties": False,
}
WORDS = ["type", "$ref", "allOf", "anyOf", "items", "properties", "required", "format", "enum"]
WORDS += ["minimum", "maximum", "multipleOf", "exclusiveMinimum", "minItems", "minLength"]
SCHEMAS: list[dict[str, Any]] = [
    {},
    POINT,
    {"type": "string", "enum": ["a", "b"]},
    {"const": None},
    {"type": "string", "minLength": 20},
    {"type": "string", "maxLength": 3},
    {"type": "string", "format": "date-time"},
    {"type": ["integer", "null"], "exclusiveMinimum": 7, "multipleOf": 5},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    {"type": "integer", "exclusiveMaximum": 0},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "array", "items": POINT, "minItems": 3},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {
        "allOf": [
            {"properties": {"y": {"type": "integer"}}, "required": ["y"]},
            {"properties": {"z": {"type": "boolean"}}, "required": ["z"]},
        ]
    },
    {"$ref": "#/$defs/p", "$defs": {"p": {"type": "array", "items": {"type": "integer"}}}},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/e"}}, "required": ["a"]}
    | {"$defs": {"e": {"enum": [3]}}},
    {"type": "object", "required": ["free"]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_the_example_meets_the_schema(schema: dict[str, Any]) -> None:
    jsonschema_rs.validate(schema, example(schema))


def test_a_schema_that_contains_itself_ends() -> None:
    tree = {"type": "object", "required": ["l", "r"]}
    tree["properties"] = {"l": {"$ref": "#"}, "r": {"$ref": "#"}}  # type: ignore[assignment]
    assert isinstance(example(tree), dict)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(WORDS),
                inner | st.sampled_from(["object", "array", "integer", "number", "string", "#"]),
                max_size=5,
            )
        ),
    )
)
def test_any_schema_has_an_example(schema: object) -> None:
    example(schema)

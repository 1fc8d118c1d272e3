"""Structured answers are valid for their schema; what cannot be satisfied is refused, not guessed at."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.schema import SchemaError, value_for

pytestmark = pytest.mark.fast

SCHEMAS: list[Any] = [
    True,
    {},
    {"type": "string", "minLength": 40},
    {"type": "string", "maxLength": 5},
    {"type": "string", "minLength": 5, "maxLength": 5},
    {"type": "string", "pattern": r"^[A-Z]{2}-\d{3,}(-(draft|final))?$"},
    {"type": "string", "pattern": r"\S+@[^@\s]+\.(com|org)"},
    *(
        {"type": "string", "format": name}
        for name in ("date", "time", "date-time", "email", "uuid", "ipv4", "ipv6")
    ),
    *({"type": "string", "format": name} for name in ("uri", "hostname", "duration", "unheard-of")),
    {"type": "integer", "minimum": 3, "maximum": 3},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "maximum": -10},
    {"type": "integer", "multipleOf": 7, "minimum": 1},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.1},
    {"type": "number", "multipleOf": 0.5, "minimum": -3, "maximum": 3},
    {"type": ["null", "boolean"]},
    {"enum": [1, "two", None]},
    {"const": {"a": [1]}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3},
    {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": False,
        "minItems": 2,
    },
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"], "minProperties": 4},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"const": "x"}, {"const": "y"}]},
    {
        "allOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"type": "object", "required": ["b"]},
        ]
    },
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["name", "next"],
        "additionalProperties": False,
    },
    {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "children"],
            }
        },
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(schema)[:60])
def test_a_made_value_is_valid_and_the_same_for_the_same_digest(schema: Any) -> None:
    for k in range(25):
        digest = bytes([k]) * 32
        value = value_for(schema, digest)
        jsonschema_rs.validate(schema, value, validate_formats=True)
        assert value == value_for(schema, digest)


def test_different_digests_give_different_values() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    assert len({str(value_for(schema, bytes([k]) * 32)) for k in range(20)}) > 15


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (False, "allows nothing"),
        ({"type": "strnig"}, "unknown type"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "https://example.com/a.json"}, "not within"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number"),
        ({"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2}, "too few different"),
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "never ends"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "never ends"),
        ({"anyOf": [{"$ref": "#"}] * 10}, "never ends"),
        ({"type": "array", "minItems": 10**9}, "minItems is over"),
    ],
)
def test_a_schema_nothing_satisfies_is_refused_with_the_reason(schema: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        value_for(schema, b"x" * 32)


@given(st.from_regex(r"[a-c]{1,3}(x|yz)?[0-9]*", fullmatch=True), st.binary(min_size=32, max_size=32))
def test_a_literal_pattern_is_made_literally(text: str, digest: bytes) -> None:
    made = value_for({"type": "string", "pattern": f"^{re.escape(text)}$"}, digest)
    assert made == text

"""A JSON Schema fitted to Anthropic's structured outputs: nothing is loosened, what cannot be said is refused."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import Untranslatable
from workers.providers.anthropic_schema import fitted

pytestmark = pytest.mark.ability("anthropic", "schema")

STRING = {"type": "string"}


def fit(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    warnings: list[str] = []
    return fitted("anthropic", schema, "s", warnings), warnings


def test_a_schema_that_it_takes_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "description": "a song",
        "properties": {
            "genre": {"enum": ["rock", "jazz", None]},
            "at": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "items": STRING, "minItems": 1},
            "by": {"anyOf": [{"$ref": "#/$defs/artist"}, {"type": "null"}]},
        },
        "required": ["genre"],
        "additionalProperties": False,
        "$defs": {"artist": {"type": "object", "properties": {}, "additionalProperties": False}},
    }
    assert fit(schema) == (schema, [])


def test_objects_are_closed_and_notes_are_dropped() -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"a": STRING}, "additionalProperties": True}
    told = {"type": "object", "properties": {"a": STRING}, "additionalProperties": False}
    assert fit(schema) == (told, [])


def test_bounds_are_told_in_words_and_warned_of() -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "description": "How loud."}
    told, warnings = fit(schema)
    assert told == {"type": "integer", "description": 'How loud.\n\n{"minimum":1,"maximum":9}'}
    assert warnings[0].startswith("s: minimum, maximum told")
    assert fit({"type": "string", "pattern": "^a"})[0] == {
        "type": "string",
        "description": '{"pattern":"^a"}',
    }


def test_several_types_become_variants_with_what_is_meant_for_each() -> None:
    schema = {
        "type": ["object", "string", "null"],
        "properties": {"a": STRING},
        "minLength": 2,
        "description": "d",
    }
    told, warnings = fit(schema)
    assert told == {
        "anyOf": [
            {
                "type": "object",
                "properties": {"a": STRING},
                "description": "d",
                "additionalProperties": False,
            },
            {"type": "string", "description": 'd\n\n{"minLength":2}'},
            {"type": "null"},
        ]
    }
    assert len(warnings) == 1
    assert fit({"type": ["string", "null"], "enum": ["a", None]})[0] == {"enum": ["a", None]}
    assert fit({"type": ["string"]})[0] == STRING


def test_one_of_becomes_any_of() -> None:
    assert fit({"oneOf": [STRING, {"type": "null"}]})[0] == {"anyOf": [STRING, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "object"}, "s.properties"),
        ({"type": "object", "additionalProperties": STRING}, "s.additionalProperties"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "s.additionalProperties"),
        (
            {"type": "object", "properties": {"x": {"patternProperties": {}}}},
            "s.properties.x.patternProperties",
        ),
        ({"type": "array", "items": {"not": STRING}}, "s.items.not"),
        ({"anyOf": [STRING, {"if": {}}]}, "s.anyOf[1].if"),
        ({"type": "array", "items": [STRING]}, "s.items"),
        ({"$defs": {"a": True}}, "s.$defs.a"),
    ],
)
def test_what_has_no_rewriting_is_refused_with_its_path(schema: dict[str, Any], path: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        fit(schema)
    assert refused.value.param == path


simple = st.sampled_from(
    [
        STRING,
        {"type": "null"},
        {"type": "integer"},
        {"type": ["integer", "null"]},
        {"type": "boolean"},
        {"enum": ["a", 1]},
    ]
)
schemas = st.recursive(
    simple,
    lambda inner: (
        st.dictionaries(st.sampled_from("ab"), inner, max_size=2).map(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
        )
        | inner.map(lambda items: {"type": "array", "items": items})
        | st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each})
    ),
    max_leaves=6,
)
answers = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from("abc"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


@given(schemas, answers)
def test_every_answer_to_the_fitted_schema_answers_the_schema_as_given(schema: Any, answer: Any) -> None:
    before = orjson.dumps(schema)
    told, _ = fit(schema)
    assert orjson.dumps(schema) == before
    if jsonschema_rs.is_valid(told, answer):
        assert jsonschema_rs.is_valid(schema, answer)

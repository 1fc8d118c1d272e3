"""A JSON Schema in Gemini's words: what is kept, what is told anew, and the path of what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import Untranslatable
from workers.providers.gemini_schema import gemini_schema

AT = "response_format.json_schema.schema"
ACCEPTED = {
    "type", "nullable", "enum", "properties", "required", "items", "anyOf", "minimum", "maximum", "minItems",
    "maxItems", "format", "propertyOrdering", "title", "description",
}  # fmt: skip
TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
PERSON: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "in full", "default": ""},
        "age": {"type": ["integer", "null"], "minimum": 0, "maximum": 150},
        "born": {"type": "string", "format": "date-time"},
        "kind": {"const": "person"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "kind"],
    "additionalProperties": False,
}


def told(schema: dict[str, Any]) -> dict[str, Any]:
    return gemini_schema("gemini", schema, AT)


def refused(schema: dict[str, Any]) -> str:
    with pytest.raises(Untranslatable) as caught:
        told(schema)
    return caught.value.param


@pytest.mark.ability("gemini", "schema")
def test_an_object_keeps_its_properties_and_their_order() -> None:
    assert told(PERSON) == {
        "type": "OBJECT",
        "title": "Person",
        "properties": {
            "name": {"type": "STRING", "description": "in full"},
            "age": {"type": "INTEGER", "nullable": True, "minimum": 0, "maximum": 150},
            "born": {"type": "STRING", "format": "date-time"},
            "kind": {"type": "STRING", "enum": ["person"]},
            "tags": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["a", "b"]}, "maxItems": 3},
        },
        "propertyOrdering": ["name", "age", "born", "kind", "tags"],
        "required": ["name", "kind"],
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "STRING", "nullable": True}),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "title": "T"},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True, "title": "T"},
        ),
        (
            {"type": ["string", "integer"], "minimum": 3},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER", "minimum": 3}]},
        ),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"type": ["string", "null"], "enum": ["a"]}, {"type": "STRING", "enum": ["a"]}),
        ({"const": None}, {"type": "NULL"}),
        ({"type": "null"}, {"type": "NULL"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "INTEGER", "minimum": 1}),
        (
            {"type": "integer", "exclusiveMaximum": 9, "maximum": 12, "minimum": 2, "exclusiveMinimum": 0},
            {"type": "INTEGER", "maximum": 8, "minimum": 2},
        ),
        ({"type": "string", "maximum": 3, "x-order": 1}, {"type": "STRING"}),
        ({"allOf": [{"type": "string"}], "description": "d"}, {"type": "STRING", "description": "d"}),
        ({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
         {"anyOf": [{"type": "STRING"}, {"type": "ARRAY", "items": {"type": "NUMBER"}}]}),
    ],
)  # fmt: skip
def test_what_has_another_name_is_told_anew(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert told(schema) == expected


def test_shared_definitions_are_written_out_where_they_are_used() -> None:
    schema = {
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}, "title": "Point"}},
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/Point"}, "b": {"$ref": "#/$defs/Point", "description": "end"}},
    }
    point = {
        "type": "OBJECT", "properties": {"x": {"type": "NUMBER"}}, "propertyOrdering": ["x"], "title": "Point",
    }  # fmt: skip
    assert told(schema)["properties"] == {"a": point, "b": {**point, "description": "end"}}


def test_objects_told_apart_by_a_required_word_are_one_of_several() -> None:
    cat, dog = (
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
        for kind in ("cat", "dog")
    )
    schema = {"oneOf": [cat, dog], "discriminator": {"propertyName": "kind"}}
    assert [each["properties"]["kind"]["enum"] for each in told(schema)["anyOf"]] == [["cat"], ["dog"]]
    assert refused({"oneOf": [cat, cat]}) == f"{AT}.oneOf"
    assert refused({"oneOf": [cat, {**dog, "required": []}]}) == f"{AT}.oneOf"


@pytest.mark.ability("gemini", "schema")
@pytest.mark.parametrize(
    ("inner", "path"),
    [
        ({"type": "string", "pattern": "^a"}, ".pattern"),
        ({"type": "string", "minLength": 1}, ".minLength"),
        ({"type": "string", "format": "uuid"}, ".format"),
        ({"type": "integer", "enum": [1, 2]}, ".enum"),
        ({"enum": [1, 2]}, ".enum"),
        ({"const": True}, ".const"),
        ({"type": "number", "exclusiveMinimum": 0}, ".exclusiveMinimum"),
        ({"type": "number", "multipleOf": 2}, ".multipleOf"),
        ({"type": "integer", "minimum": "0"}, ".minimum"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ".uniqueItems"),
        ({"type": "array", "items": {"type": "string", "pattern": "a"}}, ".items.pattern"),
        ({"type": "array", "items": [{"type": "string"}]}, ".items"),
        ({"type": "array"}, ""),
        ({"type": "array", "prefixItems": [], "items": {"type": "string"}}, ".prefixItems"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, ".additionalProperties"),
        ({"type": "object", "patternProperties": {}}, ".patternProperties"),
        ({"type": "object", "properties": {"a": True}}, ".properties.a"),
        ({"type": "object", "properties": {}, "required": ["a"]}, ".required"),
        ({"type": "file"}, ".type"),
        ({"type": []}, ".type"),
        ({"type": 3}, ".type"),
        ({"type": "string", "nullable": True}, ".nullable"),
        ({"type": "string", "not": {"const": "a"}}, ".not"),
        ({}, ""),
        ({"anyOf": []}, ".anyOf"),
        ({"anyOf": [{"type": "string"}, {"type": "string", "pattern": "a"}]}, ".anyOf[1].pattern"),
        ({"anyOf": [{"type": "string"}], "properties": {}}, ".properties"),
        ({"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}]}, ".oneOf"),
        ({"type": "object", "anyOf": [{"type": "string"}]}, ".anyOf"),
        ({"type": "string", "anyOf": [{"type": ["string", "null"]}]}, ".anyOf"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ".oneOf"),
        ({"oneOf": [{"type": ["string", "null"]}, {"type": "null"}]}, ".oneOf"),
        ({"allOf": [{"type": "string"}, {"type": "string"}]}, ".allOf"),
        ({"allOf": [{"type": "string"}], "type": "integer"}, ".allOf"),
        ({"allOf": [{"type": "string", "pattern": "a"}]}, ".allOf[0].pattern"),
        ({"$ref": "#/$defs/Nothing"}, ".$ref"),
        ({"$ref": "other.json"}, ".$ref"),
    ],
)
def test_what_gemini_cannot_be_told_is_refused_with_its_path(inner: dict[str, Any], path: str) -> None:
    schema = {"type": "object", "properties": {"id": inner}}
    assert refused(schema) == f"{AT}.properties.id{path}"


def test_what_is_wrong_in_a_shared_definition_is_named_where_it_stands() -> None:
    schema = {"$defs": {"Id": {"type": "string", "pattern": "^a"}}, "$ref": "#/$defs/Id"}
    assert refused(schema) == f"{AT}.$defs.Id.pattern"


def test_a_schema_that_contains_itself_is_refused() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    assert (
        refused({"$defs": {"Node": node}, "$ref": "#/$defs/Node"}) == f"{AT}.$defs.Node.properties.next.$ref"
    )
    assert refused({"$ref": "#"}) == f"{AT}.$ref"


def test_a_schema_that_would_grow_without_end_is_refused() -> None:
    doubled = {
        f"d{k}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/$defs/d{k + 1}"} for side in ("left", "right")},
        }
        for k in range(40)
    }
    assert refused({"$defs": {**doubled, "d40": {"type": "string"}}, "$ref": "#/$defs/d0"}).startswith(AT)
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        nested = {"allOf": [{"type": "array", "items": nested}]}
    assert refused(nested).startswith(AT)


KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["string", "integer", "number", "boolean", "null", ["string", "null"], "odd"]
        ),
        "description": st.text(max_size=3),
        "default": st.integers(),
        "enum": st.lists(st.sampled_from(["a", "b", None, 1]), max_size=3),
        "format": st.sampled_from(["date-time", "int32", "email"]),
        "minimum": st.integers(0, 9),
        "exclusiveMaximum": st.integers(0, 9),
        "pattern": st.just("^a"),
        "$ref": st.sampled_from(["#/$defs/word", "#/$defs/none", "#"]),
    },
)
SCHEMAS = st.recursive(
    KEYWORDS,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
            },
            optional={"required": st.just(["x"]), "additionalProperties": st.sampled_from([False, {}])},
        ),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, max_size=2)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, max_size=2)}, optional={"title": st.just("t")}),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
def test_a_translation_has_only_accepted_keywords_and_a_refusal_names_a_place(schema: dict[str, Any]) -> None:
    whole = {**schema, "$defs": {"word": {"type": "string", "minLength": 2}}}
    before = copy.deepcopy(whole)
    path, made = "", {"type": "NULL"}
    try:
        made = told(whole)
    except Untranslatable as error:
        path = error.param.removeprefix(AT)
    assert exists(whole, path), path
    assert_accepted(made)
    assert whole == before


def exists(schema: Any, path: str) -> bool:
    for step in path.replace("[", ".").replace("]", "").split(".")[1:]:
        if isinstance(schema, list):
            if int(step) >= len(schema):
                return False
            schema = schema[int(step)]
        elif isinstance(schema, dict) and step in schema:
            schema = schema[step]
        else:
            return False
    return True


def assert_accepted(schema: dict[str, Any]) -> None:
    assert schema.keys() <= ACCEPTED
    assert ("type" in schema) != ("anyOf" in schema)
    assert schema.get("type", "STRING") in TYPES
    assert "pattern" not in schema
    for inner in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        assert_accepted(inner)
    if "items" in schema:
        assert_accepted(schema["items"])

"""Gemini's two kinds of schema, checked as the API checks them and turned into plain JSON schema. Pure.

`responseSchema` and `parameters` are OpenAPI in upper-case types (ai.google.dev/api/caching#Schema), already
read by gemini_fields.py, which refuses the names that are none of theirs. `responseJsonSchema` is JSON schema
of which only some keywords are supported (ai.google.dev/api/generate-content#GenerationConfig); the API takes
others and does not promise them, the simulator refuses them, so that nobody relies on a promise not made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.simulator.gemini_errors import bad_request, refused
from app.simulator.gemini_fields import snake

_COPIED = (
    "title", "description", "pattern", "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength",
    "minProperties", "maxProperties", "required",
)  # fmt: skip
_FORMATS: Mapping[str | None, tuple[str, str]] = {
    "STRING": ("enum", "date-time"),
    "INTEGER": ("int32", "int64"),
    "NUMBER": ("float", "double"),
}
_JSON_SCHEMA = frozenset(
    (
        "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items",
        "prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties",
        "additionalProperties", "required", "propertyOrdering", "default",
    )
)  # fmt: skip
_MAPS = ("properties", "$defs")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_ONES = ("items", "additionalProperties")


def from_openapi(schema: Mapping[str, Any], at: str) -> dict[str, Any]:
    """JSON schema that means the same.

    Args:
        schema: as `gemini_fields.read_fields` gives it.
        at: its path in the request, for refusals.
    Raises: ApiError 400 for one that the API finds incomplete or contradictory.
    """
    kind = schema.get("type")
    if kind is None and "anyOf" not in schema:
        raise refused(f"{at}.type", "must be specified")
    _check(schema, kind, at)
    plain: dict[str, Any] = {name: schema[name] for name in _COPIED if name in schema}
    if schema.get("format") == "date-time":
        plain["format"] = schema["format"]
    if "properties" in schema:
        plain["properties"] = {
            name: from_openapi(schema["properties"][name], f"{at}.properties[{name}]")
            for name in _ordered(schema)
        }
    if "items" in schema:
        plain["items"] = from_openapi(schema["items"], f"{at}.items")
    if "anyOf" in schema:
        plain["anyOf"] = [from_openapi(each, f"{at}.any_of[{k}]") for k, each in enumerate(schema["anyOf"])]
    if "enum" in schema:
        plain["enum"] = list(schema["enum"])
    if kind is not None:
        plain["type"] = kind.lower()
    return _or_null(plain) if schema.get("nullable") else plain


def checked_json_schema(schema: Any, at: str) -> Any:
    """The schema as it is.

    Raises: ApiError 400 for a keyword that responseJsonSchema does not support.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise bad_request([(at, f"Invalid value at '{at}': a JSON schema is an object.")])
    unknown = sorted(set(schema) - _JSON_SCHEMA)
    if unknown:
        raise refused(at, f"keyword {unknown[0]!r} is not supported")
    if "$ref" in schema and any(not name.startswith("$") for name in schema):
        raise refused(at, "when $ref is set, only names that start with $ may stand beside it")
    for part, where in _parts(schema, at):
        checked_json_schema(part, where)
    return schema


def _parts(schema: Mapping[str, Any], at: str) -> Iterator[tuple[Any, str]]:
    """The schemas within a schema, and where they stand."""
    for name in _MAPS:
        for key, each in _part(schema, name, dict, at).items():
            yield each, f"{at}.{name}[{key}]"
    for name in _LISTS:
        for k, each in enumerate(_part(schema, name, list, at)):
            yield each, f"{at}.{name}[{k}]"
    for name in _ONES:
        if name in schema:
            yield schema[name], f"{at}.{name}"


def _part(schema: Mapping[str, Any], name: str, kind: type, at: str) -> Any:
    part = schema.get(name, kind())
    if not isinstance(part, kind):
        raise refused(f"{at}.{name}", f"should be {'an object' if kind is dict else 'an array'}")
    return part


def _check(schema: Mapping[str, Any], kind: str | None, at: str) -> None:
    properties = schema.get("properties", {})
    for field, owner, said in (
        ("items", "ARRAY", "field predicate failed: $type == Type.ARRAY"),
        ("properties", "OBJECT", "only allowed for OBJECT type"),
        ("enum", "STRING", "only allowed for STRING type"),
    ):
        if field in schema and kind != owner:
            raise refused(f"{at}.{field}", said)
    if kind == "ARRAY" and "items" not in schema:
        raise refused(f"{at}.items", "missing field.")
    if kind == "OBJECT" and not properties:
        raise refused(f"{at}.properties", "should be non-empty for OBJECT type")
    _check_names(schema, properties, at)
    for k, value in enumerate(schema.get("enum", ())):
        if not value:
            raise refused(f"{at}.enum[{k}]", "cannot be empty")
    known = _FORMATS.get(kind)
    if known and schema.get("format", known[0]) not in known:
        raise refused(f"{at}.format", f"only {known[0]!r} and {known[1]!r} are supported for {kind} type")


def _check_names(schema: Mapping[str, Any], properties: Mapping[str, Any], at: str) -> None:
    for field in ("required", "propertyOrdering"):
        for k, name in enumerate(schema.get(field, ())):
            if name not in properties:
                raise refused(f"{at}.{snake(field)}[{k}]", "property is not defined")


def _ordered(schema: Mapping[str, Any]) -> list[str]:
    """Property names as `propertyOrdering` wants them written, else in their own order."""
    return list(dict.fromkeys([*schema.get("propertyOrdering", ()), *schema["properties"]]))


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    made = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        made["enum"] = [*schema["enum"], None]
    return made

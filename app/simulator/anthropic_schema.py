"""Which JSON schemas Anthropic's structured outputs take. Pure.

After its published list: no bounds of numbers and lengths, arrays of at least 0 or 1 items at most, objects
closed, references only within the schema and never to themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.simulator.anthropic_turns import refused

_UNSUPPORTED: Mapping[str, tuple[str, ...]] = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
    "object": ("minProperties", "maxProperties", "patternProperties", "propertyNames"),
}
_MAX_DEPTH = 64


def check_output_schema(schema: Mapping[str, Any], at: str) -> None:
    """Nothing for a schema that can be kept to.

    Raises: ApiError 400 naming the keyword.
    """
    _check(schema, schema, at, ())


def _check(schema: object, root: Mapping[str, Any], at: str, within: tuple[str, ...]) -> None:
    if not isinstance(schema, dict) or len(within) > _MAX_DEPTH:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if not reference.startswith("#"):
            raise refused(at, f"External '$ref' is not supported: '{reference}'")
        if reference in within:
            raise refused(at, "Recursive schemas are not supported")
        _check(_found(root, reference), root, at, (*within, reference))
    _check_keywords(schema, at)
    for name, inner in _inner(schema):
        _check(inner, root, f"{at}.{name}", (*within, ""))


def _check_keywords(schema: Mapping[str, Any], at: str) -> None:
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str):
            continue
        found = [name for name in _UNSUPPORTED.get(kind, ()) if name in schema]
        if found:
            raise refused(at, f"For '{kind}' type, properties {', '.join(found)} are not supported")
        if kind == "array" and schema.get("minItems", 0) not in (0, 1):
            raise refused(at, "For 'array' type, 'minItems' values other than 0 or 1 are not supported")
        if kind == "object" and schema.get("additionalProperties") is not False:
            raise refused(at, "For 'object' type, 'additionalProperties' must be explicitly set to false")


def _inner(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Schemas within a schema, by the name that leads there."""
    found: list[tuple[str, Any]] = [("items", schema.get("items"))]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        found += [(f"properties.{name}", inner) for name, inner in properties.items()]
    for name in ("anyOf", "allOf", "oneOf"):
        listed = schema.get(name)
        if isinstance(listed, list):
            found += [(f"{name}.{k}", inner) for k, inner in enumerate(listed)]
    return found


def _found(root: Mapping[str, Any], reference: str) -> object:
    at: object = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        at = at.get(name.replace("~1", "/").replace("~0", "~")) if name and isinstance(at, dict) else at
    return at

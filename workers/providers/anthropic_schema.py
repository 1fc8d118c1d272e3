"""Fit a JSON Schema to what Anthropic's structured outputs take. Pure.

They take a part of JSON Schema. `fitted` rewrites only so that every answer to the result is shaped for the schema as
given: objects are closed, bounds and patterns are told to the model in the description (and a warning says so; the
engine holds the answer against the whole schema). What has no such rewriting is refused with its path.

Source: Anthropic's published page on structured outputs, its JSON Schema limitations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.core.errors import Untranslatable
from workers.providers.base import json_of

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_KEPT = frozenset({"type", "$ref", "enum", "const", "description", "title", "default", "required"})
_TOLD = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "pattern", "format", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
    }
)  # fmt: skip
_MEANT_FOR = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "minItems": "array",
    "maxItems": "array",
    "uniqueItems": "array",
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "format": "string",
}
# Notes for people and tools: no answer depends on them.
_SILENT = frozenset({"$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"})
_MAX_DEPTH = 60


def fitted(name: str, schema: Mapping[str, Any], at: str, warnings: list[str]) -> dict[str, Any]:
    """The schema for `output_config.format`.

    Raises: Untranslatable with the path of a keyword that it cannot say, beginning with `at`.
    """
    return _Fitting(name, warnings).node(schema, at)


class _Fitting:
    def __init__(self, name: str, warnings: list[str]) -> None:
        self._name = name
        self._warnings = warnings
        self._depth = 0

    def node(self, schema: Any, at: str) -> dict[str, Any]:
        if not isinstance(schema, Mapping):
            raise self._refused("expected a schema object", at)
        if self._depth >= _MAX_DEPTH:
            raise self._refused(f"deeper than {_MAX_DEPTH} levels", at)
        self._depth += 1
        out = self._fit(schema, at)
        self._depth -= 1
        return out

    def _fit(self, schema: Mapping[str, Any], at: str) -> dict[str, Any]:
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return self._either(schema, kinds, at)
        out: dict[str, Any] = {}
        told: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in _KEPT or self._is_taken(keyword, value):
                out[keyword] = value
            elif keyword in _TOLD:
                told[keyword] = value
            elif keyword != "additionalProperties" and keyword not in _SILENT:
                self._nested(keyword, value, f"{at}.{keyword}", out)
        if kinds == "object" or "properties" in out:
            self._close(schema, at)
            out["additionalProperties"] = False
        if told:
            words = json_of(self._name, told).decode()
            out["description"] = f"{out['description']}\n\n{words}" if out.get("description") else words
            self._warnings.append(
                f"{at}: {', '.join(told)} told to the model in words; {self._name} does not enforce it"
            )
        return out

    def _either(self, schema: Mapping[str, Any], kinds: list[Any], at: str) -> dict[str, Any]:
        """Several types: `anyOf`, each with the keywords that mean something to it."""
        if "enum" in schema or "const" in schema:
            return self.node({keyword: value for keyword, value in schema.items() if keyword != "type"}, at)
        variants = []
        for kind in kinds:
            meant = {one: value for one, value in schema.items() if _MEANT_FOR.get(one, kind) == kind}
            variants.append({"type": "null"} if kind == "null" else self.node({**meant, "type": kind}, at))
        return variants[0] if len(variants) == 1 else {"anyOf": variants}

    def _is_taken(self, keyword: str, value: Any) -> bool:
        return (keyword == "format" and value in _FORMATS) or (keyword == "minItems" and value in (0, 1))

    def _nested(self, keyword: str, value: Any, at: str, out: dict[str, Any]) -> None:
        if keyword in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            out[keyword] = {name: self.node(inner, f"{at}.{name}") for name, inner in value.items()}
        elif keyword in ("anyOf", "oneOf", "allOf") and isinstance(value, list):
            # An answer to one of several may be one to others too; only the engine's check tells them apart.
            out["allOf" if keyword == "allOf" else "anyOf"] = [
                self.node(inner, f"{at}[{k}]") for k, inner in enumerate(value)
            ]
        elif keyword == "items":
            out[keyword] = self.node(value, at)
        else:
            raise self._refused("a keyword its structured outputs do not take", at)

    def _close(self, schema: Mapping[str, Any], at: str) -> None:
        """Named properties can be closed without loss; an object of any names would always come back empty."""
        more = schema.get("additionalProperties", False)
        if "properties" not in schema or (more is not False and not (more is True and schema["properties"])):
            keyword = "additionalProperties" if more is not False else "properties"
            raise self._refused("takes objects with named properties only", f"{at}.{keyword}")

    def _refused(self, message: str, param: str) -> Untranslatable:
        return Untranslatable(message, provider=self._name, param=param)

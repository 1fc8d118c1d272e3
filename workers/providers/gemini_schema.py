"""A JSON Schema told as Gemini's `responseSchema`, or refused with the path of what it cannot say. Pure.

Gemini's schema is a subset of OpenAPI 3.0's schema object, and it takes no notice of keywords beyond it: a schema
that lost one would be answered with something else than was asked for, so such a schema is refused instead.

    kept        type, enum (strings), properties, required, items, anyOf, minItems, maxItems, minimum, maximum,
                format (date-time, enum; int32, int64, float, double), title, description, nullable
    told anew   a type list with null and `anyOf` with null -> nullable; const -> an enum of one; $ref -> what it
                names; allOf of one -> itself; oneOf of parts that exclude each other -> anyOf; exclusive bounds of
                whole numbers; the order of properties -> propertyOrdering
    left out    what only documents ($schema, $id, examples, default, ...), keywords that say nothing of the node's
                type, additionalProperties without a schema (Gemini's objects hold only what is listed)
    refused     all else: pattern, lengths, $ref to itself, enums of numbers, free-form maps, ...

Source: Gemini API v1beta reference, `Schema`; its guide to structured output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from workers.providers.gemini_refs import SILENT, WORDS, Node, References

_TYPES = {
    "string": "STRING", "number": "NUMBER", "integer": "INTEGER", "boolean": "BOOLEAN",
    "array": "ARRAY", "object": "OBJECT", "null": "NULL",
}  # fmt: skip
_FORMATS = {
    "STRING": ("date-time", "enum"),
    "INTEGER": ("int32", "int64"),
    "NUMBER": ("float", "double"),
}
_KEPT_BY_TYPE = {
    "ARRAY": frozenset({"minItems", "maxItems"}),
    "INTEGER": frozenset({"minimum", "maximum"}),
    "NUMBER": frozenset({"minimum", "maximum"}),
}
# Keywords that ask something of one type of value only: of any other type they are always fulfilled.
_ASKED_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), ("INTEGER", "NUMBER")
    ),
    **dict.fromkeys(("pattern", "minLength", "maxLength", "contentEncoding", "contentMediaType"), ("STRING",)),
    **dict.fromkeys(
        ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"),
        ("ARRAY",),
    ),
    **dict.fromkeys(
        ("properties", "required", "additionalProperties", "patternProperties", "propertyNames",
         "minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "unevaluatedProperties"),
        ("OBJECT",),
    ),
}  # fmt: skip
_COMBINED = frozenset({"anyOf", "oneOf"})
_READ = frozenset({"type", "enum", "const", "format", "properties", "required", "items", *WORDS, *SILENT})
_MAX_NODES = (
    5_000  # shared definitions are written out where they are used: a small schema can grow without end
)
_MAX_DEPTH = 60


def gemini_schema(provider: str, schema: Mapping[str, Any], at: str) -> dict[str, Any]:
    """The schema as `responseSchema` takes it; `at` is its path in the request.

    Raises: Untranslatable, whose `param` is the path of the first part that Gemini cannot be told.
    """
    return _Translation(provider, schema, at).node(schema, at, ())


class _Translation:
    def __init__(self, provider: str, root: Mapping[str, Any], root_at: str) -> None:
        self._references = References(provider, root, root_at)
        self._refused = self._references.refused
        self._nodes = 0

    def node(self, schema: Any, at: str, within: tuple[str, ...], depth: int = 0) -> dict[str, Any]:
        """One schema; `within` are the references that are being written out around it."""
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise self._refused(at, f"deeper than {_MAX_DEPTH} levels or more than {_MAX_NODES} parts")
        keywords, within = self._references.node(schema, at, within)
        types, nullable = self._types(keywords, at)
        if _COMBINED & keywords.keys():
            told = self._combined(keywords, types, within, depth)
        else:
            shapes = [self._plain(keywords, each, at, within, depth) for each in types]
            told = shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
            if nullable:
                told["nullable"] = True
        for word in WORDS:
            if isinstance(text := keywords.get(word, ("", ""))[0], str) and text:
                told[word] = text
        return told

    # --- types

    def _types(self, keywords: Node, at: str) -> tuple[list[str], bool]:
        """The types other than null (or null alone), and whether null may stand for them."""
        names, owner = keywords.get("type", (None, at))
        if names is None:
            names = self._implied(keywords, at)
        elif isinstance(names, str):
            names = [names]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._refused(f"{owner}.type", "expected a type or an array of types")
        types = [_TYPES.get(name.lower(), "") for name in names]
        if not all(types) or (not types and "type" in keywords):
            raise self._refused(f"{owner}.type", "there is no such type")
        if types == ["NULL"]:
            return types, False
        values = self._values(keywords)
        nullable = "NULL" in types and (values is None or None in values)
        return [each for each in dict.fromkeys(types) if each != "NULL"], nullable

    def _implied(self, keywords: Node, at: str) -> list[str]:
        """The type of a node that names none."""
        if _COMBINED & keywords.keys():
            return []
        if values := self._values(keywords):
            if all(each is None or isinstance(each, str) for each in values):
                return ["null" if each is None else "string" for each in values]
            name = "const" if "const" in keywords else "enum"
            raise self._refused(f"{keywords[name][1]}.{name}", "only strings can be listed")
        if "properties" in keywords:
            return ["object"]
        if "items" in keywords:
            return ["array"]
        raise self._refused(at, "a type is needed here")

    @staticmethod
    def _values(keywords: Node) -> list[Any] | None:
        if "const" in keywords:
            return [keywords["const"][0]]
        values = keywords.get("enum", (None, ""))[0]
        return values if isinstance(values, list) else None

    # --- one type

    def _plain(
        self, keywords: Node, type_: str, at: str, within: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"type": type_}
        for name, (value, owner) in keywords.items():
            if name not in _READ and not name.startswith("x-") and type_ in _ASKED_OF.get(name, (type_,)):
                self._keyword(told, name, value, f"{owner}.{name}")
        self._enum(told, keywords)
        self._format(told, keywords)
        if type_ == "OBJECT":
            self._object(told, keywords, within, depth)
        elif type_ == "ARRAY":
            if "items" not in keywords:
                raise self._refused(at, "an array needs `items` here")
            items, owner = keywords["items"]
            told["items"] = self.node(items, f"{owner}.items", within, depth + 1)
        return told

    def _keyword(self, told: dict[str, Any], name: str, value: Any, path: str) -> None:
        if name in _KEPT_BY_TYPE.get(told["type"], ()):
            self._number(value, path)
            # An exclusive bound may have been told already, the narrower of the two holds.
            told[name] = _narrower(name, value, told.get(name))
        elif name in ("exclusiveMinimum", "exclusiveMaximum") and told["type"] == "INTEGER":
            self._number(value, path)
            if value != int(value):
                raise self._refused(path, "expected a whole number")
            bound = "minimum" if name == "exclusiveMinimum" else "maximum"
            told[bound] = _narrower(bound, int(value) + (1 if bound == "minimum" else -1), told.get(bound))
        elif not self._asks_nothing(name, value):
            raise self._refused(path, "Gemini's schemas have no such keyword")

    @staticmethod
    def _asks_nothing(name: str, value: Any) -> bool:
        if name in ("additionalProperties", "unevaluatedProperties"):
            return isinstance(value, bool)
        return name in ("uniqueItems", "nullable") and value is False

    def _number(self, value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(path, "expected a number")

    def _enum(self, told: dict[str, Any], keywords: Node) -> None:
        name = "const" if "const" in keywords else "enum"
        if name not in keywords:
            return
        path = f"{keywords[name][1]}.{name}"
        values = self._values(keywords)
        if told["type"] == "NULL" and values == [None]:
            return
        words = [value for value in values or () if value is not None]
        if told["type"] != "STRING" or not words or not all(isinstance(word, str) for word in words):
            raise self._refused(path, "only strings can be listed")
        told["enum"] = words

    def _format(self, told: dict[str, Any], keywords: Node) -> None:
        if "format" not in keywords:
            return
        value, owner = keywords["format"]
        if value not in _FORMATS.get(told["type"], ()):
            raise self._refused(f"{owner}.format", f"no format {str(value)[:40]!r} for {told['type']}")
        told["format"] = value

    def _object(self, told: dict[str, Any], keywords: Node, within: tuple[str, ...], depth: int) -> None:
        properties, owner = keywords.get("properties", ({}, ""))
        if not isinstance(properties, Mapping):
            raise self._refused(f"{owner}.properties", "expected an object")
        if properties:
            at = f"{owner}.properties"
            told["properties"] = {
                name: self.node(schema, f"{at}.{name}", within, depth + 1)
                for name, schema in properties.items()
            }
            told["propertyOrdering"] = list(properties)
        required, owner = keywords.get("required", ([], ""))
        if not isinstance(required, list) or not all(
            isinstance(name, str) and name in properties for name in required
        ):
            raise self._refused(f"{owner}.required", "names a property that is not listed")
        if required:
            told["required"] = required

    # --- anyOf, oneOf

    def _combined(
        self, keywords: Node, types: Sequence[str], within: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        name = min(_COMBINED & keywords.keys())
        members, owner = keywords[name]
        path = f"{owner}.{name}"
        if not isinstance(members, list) or not members:
            raise self._refused(path, "expected a list of schemas")
        for other, (_, place) in keywords.items():
            if other not in WORDS and other not in SILENT and other not in (name, "type"):
                raise self._refused(f"{place}.{other}", f"cannot stand beside {name}")
        told = [self.node(each, f"{path}[{k}]", within, depth + 1) for k, each in enumerate(members)]
        if "type" in keywords and any([each.get("type")] != types or "nullable" in each for each in told):
            raise self._refused(path, "its parts are not of the one type that the schema around them has")
        if name == "oneOf" and not all(_exclude(one, other) for one, other in combinations(told, 2)):
            raise self._refused(path, "only parts that exclude each other can be told")
        values = [each for each in told if each.get("type") != "NULL"]
        whole = values[0] if len(values) == 1 else {"anyOf": values} if values else told[0]
        return {**whole, "nullable": True} if 0 < len(values) < len(told) else whole


def _narrower(name: str, value: float, told: float | None) -> float:
    if told is None:
        return value
    return max(value, told) if name.startswith("min") else min(value, told)


def _exclude(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether no value fits both: other types, other listed words, or objects told apart by a required property."""
    if one.get("nullable") and (other.get("nullable") or other.get("type") == "NULL"):
        return False
    if other.get("nullable") and one.get("type") == "NULL":
        return False
    types = {one.get("type"), other.get("type")}
    if None in types or types == {"INTEGER", "NUMBER"}:
        return False
    if len(types) == 2:
        return True
    if "enum" in one and "enum" in other:
        return not set(one["enum"]) & set(other["enum"])
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    return any(_exclude(one["properties"][name], other["properties"][name]) for name in shared)

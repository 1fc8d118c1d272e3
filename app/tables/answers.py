"""An answer as the values of new columns: the text, or a value for each property of the schema. Pure.

What a schema says of a property decides its column's kind: `string`, `integer`, `number` and `boolean`, each also
with null; everything else is JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.client.jsonl import Result
from app.tables.rows import Column, Kind

_KINDS: Mapping[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}
_DETAILS = (Column("cost_usd", "number"), Column("model", "text"), Column("source", "text"))
_MAX_ERROR_CHARACTERS = 2_000
_INT64 = range(-(2**63), 2**63)
_MAX_REFS = 8


class _Unfit(Exception):
    """An answer that gives no value for a column, in words: code and message."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The columns that answers add: theirs, `error`, and with details those on the call."""

    fields: tuple[Column, ...]
    structured: bool
    prefix: str = ""
    details: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """All of them, in the order of `values`, under the names they get."""
        every = (*self.fields, Column("error", "text"), *(_DETAILS if self.details else ()))
        return tuple(Column(f"{self.prefix}{each.name}", each.kind) for each in every)

    def values(self, result: Result | None, detail: Mapping[str, Any] | None = None) -> list[Any]:
        """What a row gets. No result: it has not been answered yet. `detail`: the item as the API lists it."""
        found: list[Any] = [None] * len(self.fields)
        error = None
        if result is None:
            error = "not_answered: the row has no answer yet"
        elif not result.ok:
            error = f"{result.code or f'status_{result.status_code}'}: {result.error or 'no reason given'}"
        else:
            try:
                found = self._found(result)
            except _Unfit as unfit:
                error = str(unfit)
        about = [(detail or {}).get(column.name) for column in _DETAILS] if self.details else []
        return [*found, error and " ".join(error.split())[:_MAX_ERROR_CHARACTERS], *about]

    def error_in(self, values: list[Any]) -> str | None:
        """The error among the values of a row."""
        error: str | None = values[len(self.fields)]
        return error

    def _found(self, result: Result) -> list[Any]:
        text = result.text
        if text is None:
            raise _Unfit(f"no_text: {_refusal(result) or 'the answer has no text'}")
        if not self.structured:
            return [text]
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise _Unfit("not_json: the answer is no JSON document") from None
        if not isinstance(data, dict):
            raise _Unfit("not_an_object: the answer is JSON, but not an object")
        return [fitted(data.get(field.name), field) for field in self.fields]


def answers_for(
    schema: Mapping[str, Any] | None, answer_column: str | None, *, prefix: str = "", details: bool = False
) -> Answers:
    """The columns for a schema, or for plain text: one named `answer_column`, else `answer`."""
    if schema is None:
        return Answers((Column(answer_column or "answer", "text"),), False, prefix, details)
    fields = tuple(Column(name, kind_of(rule, schema)) for name, rule in schema["properties"].items())
    return Answers(fields, True, prefix, details)


def kind_of(rule: Any, schema: Mapping[str, Any]) -> Kind:
    """The kind of column for one property. `schema`: the whole, in which references are looked up."""
    for _ in range(_MAX_REFS):
        if not isinstance(rule, Mapping):
            return "json"
        options = rule.get("anyOf")
        if isinstance(options, list):
            others = [each for each in options if each != {"type": "null"}]
            rule = others[0] if len(others) == 1 else None
        elif isinstance(rule.get("$ref"), str):
            rule = _referred(rule["$ref"], schema)
        else:
            break
    if not isinstance(rule, Mapping):
        return "json"
    return _kind_of_types(rule.get("type"), rule.get("enum"))


def _kind_of_types(types: Any, options: Any) -> Kind:
    if types is None and isinstance(options, list) and options:
        return "text" if all(isinstance(each, str) for each in options) else "json"
    said = [each for each in (types if isinstance(types, list) else [types]) if each != "null"]
    return _KINDS.get(said[0], "json") if len(said) == 1 and isinstance(said[0], str) else "json"


def _referred(path: str, schema: Mapping[str, Any]) -> Any:
    """What a reference inside the document names (RFC 6901, without escapes); None for any other."""
    found: Any = schema
    for name in path.removeprefix("#/").split("/") if path.startswith("#/") else [""]:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def fitted(value: Any, column: Column) -> Any:
    """A value as its column holds it. Raises for one that it cannot hold."""
    if value is None or column.kind == "json":
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if column.kind == "integer" and is_number and float(value).is_integer() and int(value) in _INT64:
        return int(value)  # 3.0 is an integer to JSON Schema
    fits = {
        "text": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": is_number,
        "integer": False,
    }
    if not fits[column.kind]:
        raise _Unfit(f"wrong_type: {column.name} is {orjson.dumps(value).decode()[:100]}, no {column.kind}")
    return value


def _refusal(result: Result) -> str | None:
    """Why the model did not answer, in its own words."""
    for choice in (result.body or {}).get("choices") or ():
        message = choice.get("message")
        refusal = message.get("refusal") if isinstance(message, Mapping) else None
        if isinstance(refusal, str) and refusal:
            return refusal
    return None

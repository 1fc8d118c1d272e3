"""What is asked of each row: one line of a batch's input file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.tables.rows import Row
from app.tables.template import Template
from workers.core.errors import UserError

ENDPOINT = "/v1/chat/completions"
_CUSTOM_ID = "row-"
_MAX_SCHEMA_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A row's request, with its line end; names that are empty in the row, and those it does not know."""

    line: bytes
    empty: list[str]
    unknown: list[str]


@dataclass(frozen=True, slots=True)
class Asking:
    """A prompt for every row of a table, and who is asked. `schema`: what every answer must match."""

    template: Template
    model: str
    system: str | None = None
    schema: Mapping[str, Any] | None = None

    def body(self, prompt: str) -> dict[str, Any]:
        """The request's body."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": prompt}],
        }
        if self.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": self.schema, "strict": is_closed(self.schema)},
            }
        return body

    def of(self, row: Row) -> Asked:
        """The request of one row."""
        prompt, empty, unknown = self.template.filled(row.values)
        request = {
            "custom_id": f"{_CUSTOM_ID}{row.number}",
            "method": "POST",
            "url": ENDPOINT,
            "body": self.body(prompt),
        }
        return Asked(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE), empty, unknown)


def row_of(custom_id: str) -> int:
    """The row that a result is about. Raises ValueError for a name that is none of ours."""
    return int(custom_id.removeprefix(_CUSTOM_ID))


def is_closed(schema: object) -> bool:
    """Whether every object in a schema lists all its keys as required and allows no others.

    OpenAI's strict mode takes no other schemas (Structured outputs, "Supported schemas").
    """
    if isinstance(schema, list):
        return all(map(is_closed, schema))
    if not isinstance(schema, Mapping):
        return True
    names = schema.get("properties")
    if isinstance(names, Mapping):
        open_ended = schema.get("additionalProperties") is not False
        if open_ended or set(schema.get("required") or ()) != set(names):
            return False
    return all(map(is_closed, schema.values()))


def read_schema(text: bytes, name: str) -> Mapping[str, Any]:
    """A JSON Schema of an object with properties: they become columns. Raises UserError."""
    import jsonschema_rs

    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{name} is not valid JSON: {error}") from error
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not properties or schema.get("type", "object") != "object":
        raise UserError(
            f"{name} describes no object with properties",
            hint='each property becomes a column: {"type": "object", "properties": {"label": {"type": "string"}}}',
        )
    if len(text) > _MAX_SCHEMA_BYTES:
        raise UserError(
            f"{name} has more than {_MAX_SCHEMA_BYTES:,} bytes", hint="it goes along with every row"
        )
    try:
        jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise UserError(f"{name} is no JSON Schema: {str(error).splitlines()[0]}") from error
    found: Mapping[str, Any] = schema
    return found

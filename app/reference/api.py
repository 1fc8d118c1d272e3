"""docs/reference/api.md: every call of the API, from the OpenAPI document that the server itself gives."""

from __future__ import annotations

from typing import Any

from app.api.application import routed
from app.api.document import document
from app.reference.markdown import code, table

_HEAD = """# Calls of the API

`/openapi.json` of a running server has all of this with every field, `/docs` shows it and tries it out;
[api.md](../api.md) says how a batch goes through it. A key goes into `Authorization: Bearer KEY` or `X-API-Key: KEY`;
what needs none is marked. Besides the statuses named here any call with a key may answer 401, 403, 500 or 503, and one
with a body 400 or 408.
"""
_METHODS = ("get", "post", "put", "patch", "delete")
_ANYWHERE = {"400", "401", "403", "408", "500", "503"}
Doc = dict[str, Any]


def page() -> str:
    """The page."""
    whole = document(routed())
    lines = [_HEAD]
    for tag in whole["tags"]:
        calls = [
            (method, path, operation)
            for path, operations in whole["paths"].items()
            for method, operation in operations.items()
            if method in _METHODS and operation.get("tags") == [tag["name"]]
        ]
        if calls:
            lines += [f"## {tag['name']}", "", tag["description"], "", *_table(calls), ""]
    return "\n".join(lines)


def _table(calls: list[tuple[str, str, Doc]]) -> list[str]:
    rows = [(_call(*call), _parameters(call[2]), _statuses(call[2]), _meaning(call[2])) for call in calls]
    return table(("call", "parameters", "answers", "meaning"), rows)


def _call(method: str, path: str, operation: Doc) -> str:
    open_ = "" if "security" in operation else " (no key)"
    return code(f"{method.upper()} {path}") + open_


def _parameters(operation: Doc) -> str:
    found = [code(each["name"]) for each in operation.get("parameters", ()) if each["in"] != "path"]
    content = operation.get("requestBody", {}).get("content", {})
    bodies = [each["schema"].get("$ref", kind).rpartition("/")[2] for kind, each in content.items()]
    return ", ".join([*found, *(f"body {code(body)}" for body in bodies)])


def _statuses(operation: Doc) -> str:
    return ", ".join(status for status in operation["responses"] if status not in _ANYWHERE)


def _meaning(operation: Doc) -> str:
    return str(operation.get("description", "")).partition("\n\n")[0]

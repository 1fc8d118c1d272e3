"""Whether a reply is what the API's own OpenAPI document says of it: status, media type, headers, body.

tests/support/api.py lets `Truth.check` see every reply that passes through its client. A schema is compiled once; a
check takes microseconds.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import httpx
from jsonschema_rs import Registry, Validator, validator_for

Doc = dict[str, Any]
_AT = "urn:openapi"
_PARAMETER = re.compile(r"\{[^}]*\}")
_UNTRUE = "the OpenAPI document does not know this reply"


class Truth:
    """The document of a running API."""

    def __init__(self, document: Doc) -> None:
        # Of two paths that fit, the one with fewer parameters is meant, as the server has it.
        paths = sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
        self._routes = [
            (re.compile("/".join(_PARAMETER.sub("[^/]+", part) for part in path.split("/"))), operations)
            for path, operations in paths
        ]
        self._registry = Registry([(_AT, {"$id": _AT, "components": document["components"]})])
        self._validators: dict[str, Validator] = {}

    def check(self, response: httpx.Response) -> None:
        """Raises AssertionError for a reply that the document does not tell of."""
        request = response.request
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        found = next((operations for route, operations in self._routes if route.fullmatch(path)), None)
        operation = (found or {}).get(request.method.lower())
        about = f"{_UNTRUE}: {request.method} {path} -> {response.status_code}"
        if operation is None:
            # A page of the documentation, or nothing at all.
            if response.status_code >= 400 and request.method != "HEAD":
                self._check_json(response, {"$ref": "#/components/schemas/ErrorReply"}, about)
            return
        told = operation["responses"].get(str(response.status_code))
        assert told is not None, f"{about}: only {sorted(operation['responses'])}"
        for name, header in told["headers"].items():
            assert name in response.headers or not header.get("required"), f"{about}: no header {name}"
        media_type = response.headers.get("content-type", "").partition(";")[0]
        content = told.get("content", {})
        assert media_type in (content or {"": {}}), f"{about}: {media_type!r} is none of {list(content)}"
        if media_type == "application/json":
            self._check_json(response, content[media_type]["schema"], about)

    def _check_json(self, response: httpx.Response, schema: Doc, about: str) -> None:
        reference = schema["$ref"]
        validator = self._validators.get(reference)
        if validator is None:
            validator = validator_for({"$ref": _AT + reference}, registry=self._registry)
            self._validators[reference] = validator
        response.read()
        for error in validator.iter_errors(response.json()):
            raise AssertionError(f"{about}: {error.message} at {error.instance_path}")


@cache
def truth_of(document: bytes) -> Truth:
    """The truth of a document as it was served; all API processes of a test run serve the same one."""
    return Truth(json.loads(document))

"""The OpenAPI document of everything this server answers, and the page that shows it and tries it out.

FastAPI knows paths, parameters and the replies that routes declare by spec.py; this adds what it cannot know: bodies
that are read by hand, how a key is sent, what any call may answer. A test holds every reply to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.responses import FileResponse, HTMLResponse

from app.api.errors import ApiError
from app.api.json_reply import json_reply
from app.api.spec import ANYWHERE, BODIES, REPLIES, SCHEMAS, refusals
from app.version import VERSION

Doc = dict[str, Any]
router = APIRouter(include_in_schema=False)
_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_METHODS = ("get", "post", "put", "patch", "delete")
_OPEN_PATHS = ("/health", "/ready", "/metrics", "/metrics/targets")
_DESCRIPTION = """The OpenAI Batch and Files API, and what a batch can do beyond it. Any official OpenAI SDK works
unchanged.

Send the key as `Authorization: Bearer KEY` or as `X-API-Key: KEY`. Every reply carries `x-request-id`; the log says
more under it. Every refusal is `{"error": {"message", "type", "param", "code"}}`, and `x-should-retry: false` says that
no repeat can help.

**WebSocket `/v1/events`** tells of many batches over one connection what `GET /v1/batches/{batch_id}/events` tells of
one. Send `{"type": "subscribe", "batches": "all"}` or a list of ids, and read the events as JSON messages; the key goes
into a header, into the subprotocol `bearer.KEY` beside `batchwright`, or into a first message
`{"type": "auth", "key": "KEY"}`. `docs/events.md` has the events and all messages.
"""
_REQUEST_ID = {
    "description": "The name of this call in the server's log.",
    "required": True,
    "schema": {"type": "string"},
}
_TAGS = {
    "files": "What goes in, and what comes out.",
    "batches": "Make a batch, look at it, stop it, try again what failed.",
    "results": "Every request of a batch: its line, its answer, what it took, why it failed.",
    "schedules": "Batches by the clock, and what became of each due time.",
    "events": "What happens to a batch while it runs.",
    "costs": "What batches have cost and saved.",
    "webhooks": "Be told of the end of batches.",
    "keys": "API keys of a tenant.",
    "tenants": "Who works here, and what each may use. For the operator.",
    "pauses": "Rest a provider or a tenant.",
    "cache": "Answers that need no call.",
    "analytics": "Figures of the whole installation, its errors, alerts and health. For the operator.",
    "server": "Whether it lives, how it does, and what it goes by.",
}
# Nothing is fetched from elsewhere, and no key is kept by the page.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Batchwright API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, tryItOutEnabled: true,
  docExpansion: "list", defaultModelsExpandDepth: 0, displayRequestDuration: true, validatorUrl: null});
</script>
</body>
</html>
"""


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The document, made once."""
    app: FastAPI = request.app
    if app.openapi_schema is None:
        app.openapi_schema = await asyncio.to_thread(document, app)
    return json_reply(app.openapi_schema)


@router.get("/docs")
async def page() -> Response:
    """The page that shows it."""
    return HTMLResponse(_PAGE)


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """What the page is made of."""
    media_type = _FILES.get(name)
    if media_type is None:
        raise ApiError(404, f"Invalid URL (GET /docs/{name})", code="unknown_url")
    return FileResponse(_ASSETS / name, media_type=media_type, headers={"cache-control": "max-age=86400"})


def document(app: FastAPI) -> Doc:
    """The whole document."""
    whole = get_openapi(
        title="Batchwright",
        version=VERSION,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": words} for name, words in _TAGS.items()],
    )
    schemas = whole.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= _schemas(BODIES, "validation") | _schemas(REPLIES, "serialization")
    whole["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, operations in whole["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(path, operations[method])
    return whole


def _schemas(models: Mapping[str, type[BaseModel]], mode: JsonSchemaMode) -> Doc:
    wanted = [(model, mode) for model in models.values()]
    _, found = models_json_schema(wanted, ref_template=SCHEMAS + "{model}")
    return dict(found.get("$defs", {}))


def _plain(parameter: Doc) -> None:
    """A parameter of a URL or a header is there or is not, but is never null."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    if kinds:
        parameter["schema"] = kinds[0] | schema


def _complete(path: str, operation: Doc) -> None:
    """What holds for every call: no 422, the errors that any call may meet, the key, the id of the request."""
    for parameter in operation.get("parameters", ()):
        _plain(parameter)
    operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
    responses: Doc = operation["responses"]
    has_body = "requestBody" in operation
    takes_something = responses.pop("422", None) is not None or has_body
    wrong = (*((400,) if takes_something else ()), *((408,) if has_body else ()))
    usual = () if path in _OPEN_PATHS else (*ANYWHERE, *wrong)
    for status, response in refusals(*usual).items():
        responses.setdefault(str(status), response)
    if path not in _OPEN_PATHS:
        operation["security"] = [{"bearer": []}, {"header": []}]
    operation["responses"] = dict(sorted(responses.items()))
    for response in responses.values():
        response.setdefault("headers", {})["x-request-id"] = _REQUEST_ID

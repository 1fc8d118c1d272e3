"""How a route says what it takes and gives, for the OpenAPI document (document.py). Nothing here checks a request.

    @router.post("", responses=gives(Batch, 409), openapi_extra=takes(CreateBatch))

Bodies are read by hand (door.py), since what FastAPI would read it also refuses in its own words; so the document must
be told of them. Replies are declared as the models of shapes.py, which allow no field that they do not name.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app.api.shapes import ErrorReply, Event

Responses = dict[int | str, dict[str, Any]]
SCHEMAS = "#/components/schemas/"
BYTES = "application/octet-stream"
EVENTS = "text/event-stream"
# One event of a stream; there is no JSON schema for a whole stream.
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "`n` of an entry, for Last-Event-ID; progress has none."},
        "event": {"type": "string", "description": "`type` of the event."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": Event.model_json_schema(),
        },
    },
}
# What whoever makes a batch may meet beside what any body may.
MAKING_A_BATCH = (409, 413, 415, 429, 507)

# What a refusal means, wherever it stands.
_MEANINGS = {
    400: "Something in the request is wrong; `param` names it.",
    401: "No API key, or one that is not valid.",
    403: "The API key may not do that.",
    404: "There is no such object, or it is another tenant's.",
    405: "The path takes other methods.",
    408: "The request stalled; sending it again may help.",
    409: "The state of the object forbids it.",
    411: "The length of the request is not known.",
    413: "Too large; the message names the limit and its setting.",
    415: "The body is packed in a way that is not read here.",
    416: "There are no such bytes.",
    429: "Too much at once; `retry-after` says when to come back.",
    500: "A fault of the server.",
    503: "Something the server needs does not answer; `retry-after` says when to come back.",
    507: "The server's disk is nearly full.",
}
# Headers that say how to go on.
_HEADERS: dict[int, tuple[str, dict[str, Any]]] = {
    401: ("www-authenticate", {"type": "string"}),
    409: ("x-should-retry", {"type": "string", "enum": ["false"]}),
    429: ("retry-after", {"type": "integer"}),
    503: ("retry-after", {"type": "integer"}),
}
# What any call with a key may meet.
ANYWHERE = (401, 403, 500, 503)
# What routes have named; the document shows their schemas. FastAPI would do so for replies, in three times the time.
BODIES: dict[str, type[BaseModel]] = {}
REPLIES: dict[str, type[BaseModel]] = {}


def gives(model: type[BaseModel], *errors: int) -> Responses:
    """The replies of a route: its object, and the refusals beside those that any call may meet."""
    return {200: _json((model.__doc__ or "").strip(), model)} | refusals(*errors)


def streams(*types_and_errors: str | int, words: str) -> Responses:
    """The replies of a route that gives bytes or text of one of these media types, and its refusals."""
    media_types = [each for each in types_and_errors if isinstance(each, str)]
    content: dict[str, Any] = {each: {"schema": {"type": "string"}} for each in media_types}
    if EVENTS in content:
        content[EVENTS] = {"schema": _EVENT}
    if BYTES in content:
        # OpenAPI 3.1: bytes as they are have no schema but what says so.
        content[BYTES] = {"schema": {"type": "string", "format": "binary"}}
    errors = [each for each in types_and_errors if isinstance(each, int)]
    return {200: {"description": words, "content": content}} | refusals(*errors)


def refusals(*statuses: int) -> Responses:
    """These statuses with the error object that every refusal has."""
    return {
        status: _json(_MEANINGS[status], ErrorReply)
        | ({"headers": {_HEADERS[status][0]: {"schema": _HEADERS[status][1]}}} if status in _HEADERS else {})
        for status in sorted(statuses)
    }


def _json(words: str, model: type[BaseModel]) -> dict[str, Any]:
    REPLIES[model.__name__] = model
    schema = {"$ref": SCHEMAS + model.__name__}
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def takes(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The JSON body of a route."""
    BODIES[model.__name__] = model
    schema = {"$ref": SCHEMAS + model.__name__}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def with_idempotency_key(extra: dict[str, Any]) -> dict[str, Any]:
    """The same route, whose repeats are known by a header (once.py)."""
    header = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "The same request under the same key makes one batch; another one under it is a 409. "
        "It wins over `idempotency_key` in the body.",
        "schema": {"type": "string", "maxLength": 255},
    }
    return extra | {"parameters": [header]}


def takes_form(schema: dict[str, Any]) -> dict[str, Any]:
    """The multipart form of a route."""
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}

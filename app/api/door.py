"""What comes in: bodies are read, checked by the models of bodies.py, and refused in the Batch API's own words.

The handlers call `read_body` and `check`; application.py uses `complaint` for query parameters. Nothing behind this
module depends on pydantic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.api.errors import ApiError, bad_request, missing
from workers.core.api_keys import holds_key
from workers.core.lines import json_type

MAX_JSON_BYTES = 1_000_000
# A key is judged before the body is read: a tenant that is erased meanwhile must not be gone by then, nor its name be
# another one's (store/tenants.py, LINGERS_S).
BODY_WITHIN_S = 45.0
M = TypeVar("M", bound=BaseModel)


def encoding_of(request: Request) -> str | None:
    """How the body is packed, in lower case; None if it is not."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    return None if encoding in ("", "identity") else encoding


def unread_encoding(encoding: str) -> ApiError:
    """415 for a packing that is not read: unpacking is what makes a small body a large one."""
    text = f"Content-Encoding '{encoding[:32]}' is not read here; send the body as it is."
    return ApiError(415, text, param="content-encoding", code="unsupported_content_encoding")


async def read_body(
    request: Request, *, may_be_empty: bool = False, max_bytes: int = MAX_JSON_BYTES, is_stored: bool = True
) -> dict[str, Any]:
    """The JSON object in the body. Raises ApiError 400 for anything else, 413 for too much, 415 for a packed one, and
    408 for one that takes its time.

    What is stored must hold no API key, wherever it stands: it would be shown in lists and kept in backups.
    """
    if (encoding := encoding_of(request)) is not None:
        raise unread_encoding(encoding)
    body = await _bytes_of(request, max_bytes)
    if may_be_empty and not body:
        return {}
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body of your request is not valid JSON ({error}).") from None
    if not isinstance(data, dict):
        raise bad_request(f"The body must be a JSON object, but got {json_type(data)} instead.")
    if is_stored:
        refuse_key(body)
    return data


async def _bytes_of(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    text = f"The body is larger than {max_bytes:,} bytes."
                    raise ApiError(413, text, code="body_too_large")
    except ClientDisconnect:
        raise bad_request("The connection closed before the body had arrived.") from None
    except TimeoutError:
        text = f"The body has not arrived within {BODY_WITHIN_S:g} s; send it again."
        raise ApiError(408, text, code="body_stalled") from None
    return bytes(body)


def refuse_key(data: bytes, param: str | None = None) -> None:
    """Raises ApiError 400 where one of our keys stands in what would be stored."""
    if holds_key(data):
        text = "An API key stands where none belongs; nothing was stored. Send keys as `Authorization: Bearer KEY`."
        raise bad_request(text, param=param, code="misplaced_api_key")


def check(model: type[M], data: dict[str, Any]) -> M:
    """The checked form. Raises ApiError 400 that names the first parameter that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise complaint(error.errors(include_url=False)) from None


def complaint(problems: Sequence[Any]) -> ApiError:
    """The first of pydantic's complaints as the Batch API would say it."""
    # What is missing comes first: the rest is easier to mend once it is there.
    first = next((problem for problem in problems if problem["type"] == "missing"), problems[0])
    param = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "[key]"))
    kind, value, context = first["type"], first.get("input"), first.get("ctx") or {}
    if kind == "missing":
        return missing(param)
    say = _SAYINGS.get(kind)
    if say is not None:
        code, text = say(param, value, context)
        return bad_request(text, param=param, code=code)
    expected = _EXPECTED_TYPES.get(kind)
    if expected is not None:
        text = f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead."
        return bad_request(text, param=param, code="invalid_type")
    return bad_request(f"Invalid '{param}': {first['msg']}.", param=param, code="invalid_value")


_EXPECTED_TYPES = {
    "string_type": "a string",
    "dict_type": "an object",
    "model_type": "an object",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "bool_type": "a boolean",
    "list_type": "an array",
}

# Parameter, value and pydantic's context -> code and message.
_Say = Callable[[str, Any, dict[str, Any]], tuple[str, str]]


def _unsupported(_: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    supported = context.get("supported") or str(context.get("expected", "")).replace(" or ", " and ")
    shown = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return "invalid_value", f"Invalid value: '{shown[:200]}'. Supported values are: {supported}."


def _too_long(param: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    limit = context["max_length"]
    return "string_above_max_length", (
        f"Invalid '{param[:128]}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {len(value)} instead."
    )


def _too_short(param: str, *_: Any) -> tuple[str, str]:
    return "string_below_min_length", f"Invalid '{param}': it must not be empty."


def _too_few(param: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    return "array_below_min_length", (
        f"Invalid '{param}': array too short. Expected an array with at least {context['min_length']} elements, "
        f"but got an array with length {len(value)} instead."
    )


def _too_many(param: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    limit = context["max_length"]
    if isinstance(value, list):
        return "array_above_max_length", (
            f"Invalid '{param}': array too long. Expected an array with at most {limit} elements, "
            f"but got an array with length {len(value)} instead."
        )
    return "object_above_max_properties", (
        f"Invalid '{param}': too many properties. Expected an object with at most {limit} properties, "
        f"but got an object with {context.get('actual_length') or len(value)} properties instead."
    )


def _too_large(param: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    limit = context["le"]
    text = f"Invalid '{param}': integer above maximum value. Expected a value <= {limit}, but got {value}."
    return "integer_above_max_value", text


def _too_small(param: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    limit = context["ge"]
    text = f"Invalid '{param}': integer below minimum value. Expected a value >= {limit}, but got {value}."
    return "integer_below_min_value", text


def _unknown(param: str, *_: Any) -> tuple[str, str]:
    return "unknown_parameter", f"Unknown parameter: '{param}'."


_SAYINGS: dict[str, _Say] = {
    "supported": _unsupported,
    "literal_error": _unsupported,
    "string_too_long": _too_long,
    "string_too_short": _too_short,
    "too_short": _too_few,
    "too_long": _too_many,
    "less_than_equal": _too_large,
    "greater_than_equal": _too_small,
    "extra_forbidden": _unknown,
}

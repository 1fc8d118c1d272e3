"""What may come in: pydantic models of request bodies, and their complaints in the Batch API's own words.

batches.py and uploading.py call `check`; application.py uses `complaint` for query parameters. Nothing behind
this module depends on pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from starlette.requests import ClientDisconnect, Request

from app.api.errors import ApiError, bad_request, missing
from workers.core.addresses import MAX_URL_CHARACTERS
from workers.core.api_keys import holds_key
from workers.core.lines import SERVED_ENDPOINTS, json_type
from workers.core.webhooks import secret_problem

MAX_JSON_BYTES = 1_000_000
_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
_HOUR_S, _DAY_S = 3600, 86_400
_MAX_WINDOW_S = 7 * _DAY_S


def window_s(text: str) -> int | None:
    """Seconds of a completion window `<n>h` or `<n>d` from 1 hour to 7 days; None for anything else."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        return None
    seconds = int(match[1]) * (_HOUR_S if match[2] == "h" else _DAY_S)
    return seconds if seconds <= _MAX_WINDOW_S else None


def _one_of(shown: str) -> PydanticCustomError:
    return PydanticCustomError("supported", "{supported}", {"supported": shown})


def _served(endpoint: str) -> str:
    if endpoint not in SERVED_ENDPOINTS:
        raise _one_of(in_words([f"'{served}'" for served in SERVED_ENDPOINTS]))
    return endpoint


def _window(text: str) -> str:
    if window_s(text) is None:
        raise _one_of("'1h' to '168h', and '1d' to '7d'")
    return text


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        # A client that writes out its defaults sends null for "not given". A name that nobody knows is none of them.
        if not isinstance(data, dict):
            return data
        known = cls.model_fields
        return {name: value for name, value in data.items() if value is not None or name not in known}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema that the OpenAPI document shows: null stands for "not given" wherever a name may be left out."""
        schema = handler(core_schema)
        shown = handler.resolve_ref_schema(schema)
        for name, each in shown.get("properties", {}).items():
            if name not in shown.get("required", ()):
                shown["properties"][name] = _or_null(each)
        return schema


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    null = {"type": "null"}
    if null in schema.get("anyOf", ()):
        return schema
    about = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    rest = {name: value for name, value in schema.items() if name not in about}
    return {"anyOf": [rest, null]} | about


Endpoint = Annotated[
    str,
    AfterValidator(_served),
    WithJsonSchema({"type": "string", "enum": list(SERVED_ENDPOINTS)}),
]
Window = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(([1-9]|[1-9][0-9]|1[0-5][0-9]|16[0-8])h|[1-7]d)$",
            "examples": ["24h", "7d"],
        }
    ),
]


def _as_whole(value: Any) -> Any:
    # JSON knows one kind of number: 60.0 is the same as 60 (JSON Schema, 'integer').
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Behind the bounds of an integer, so that its schema has them.
WHOLE = BeforeValidator(_as_whole)


class ExpiresAfter(Strict):
    """When a file goes: so many seconds after it was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=_HOUR_S, le=30 * _DAY_S), WHOLE]


MaxCost = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


def _signs(secret: str) -> str:
    problem = secret_problem(secret)
    if problem is not None:
        raise PydanticCustomError("secret", "{problem}", {"problem": problem})
    return secret


SigningSecret = Annotated[
    str,
    AfterValidator(_signs),
    # The base64 of 24 to 64 bytes (core/webhooks.py).
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^whsec_([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})?$",
        }
    ),
]
WebhookUrl = Annotated[
    str,
    Field(min_length=1),
    WithJsonSchema(
        {
            "type": "string",
            "format": "uri",
            "minLength": 1,
            "maxLength": MAX_URL_CHARACTERS,
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://",
            "examples": ["https://example.com/hooks/batches"],
        }
    ),
]


class OwnWebhook(Strict):
    """Who is told of one batch, beside the endpoints of its tenant."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: WebhookUrl
    secret: SigningSecret | None = None


class Extension(Strict):
    """Our own options of a batch. A misspelt one is refused: it would change what is paid for."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    cache: Literal["on", "off"] | None = None
    order: Literal["completion", "input"] = "completion"
    invalid_lines: Literal["fail", "skip"] | None = None
    run_key: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    priority: Annotated[int, Field(ge=0, le=9), WHOLE] = 0
    max_cost_usd: MaxCost | None = None
    webhook: OwnWebhook | None = None


# MongoDB takes no NUL in the name of a field.
_Key = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]
_Value = Annotated[str, Field(max_length=512)]
Metadata = Annotated[
    dict[_Key, _Value],
    Field(max_length=16),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 16,
            "propertyNames": {"maxLength": 64, "pattern": "^[^\\u0000]*$"},
            "additionalProperties": {"type": "string", "maxLength": 512},
        }
    ),
]


class CreateBatch(Strict):
    """POST /v1/batches."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=256)]
    endpoint: Endpoint
    completion_window: Window
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    batchwright: Extension = Field(default_factory=Extension)


class ResumeOptions(Strict):
    """What a resume may change."""

    model_config = ConfigDict(strict=True, extra="forbid")

    max_cost_usd: MaxCost | None = None


class ResumeBatch(Strict):
    """POST /v1/batches/{id}/resume; the body may be empty."""

    batchwright: ResumeOptions = Field(default_factory=ResumeOptions)


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
    """The JSON object in the body. Raises ApiError 400 for anything else, 413 for too much, 415 for a packed one.

    What is stored must hold no API key, wherever it stands: it would be shown in lists and kept in backups.
    """
    if (encoding := encoding_of(request)) is not None:
        raise unread_encoding(encoding)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise ApiError(413, f"The body is larger than {max_bytes:,} bytes.", code="body_too_large")
    except ClientDisconnect:
        raise bad_request("The connection closed before the body had arrived.") from None
    if may_be_empty and not body:
        return {}
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body of your request is not valid JSON ({error}).") from None
    if not isinstance(data, dict):
        raise bad_request(f"The body must be a JSON object, but got {json_type(data)} instead.")
    if is_stored:
        refuse_key(bytes(body))
    return data


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


def in_words(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b, and c`."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


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


def _too_many(param: str, value: Any, context: dict[str, Any]) -> tuple[str, str]:
    limit = context["max_length"]
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
    "too_long": _too_many,
    "less_than_equal": _too_large,
    "greater_than_equal": _too_small,
    "extra_forbidden": _unknown,
}

"""What a request body may say: pydantic models of those about batches, and the types that all models are made of.

door.py checks a body by one, the OpenAPI document shows its schema (spec.py). A rule that a validator holds is written
beside it as a JSON schema; tests/unit/api/test_document.py holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from workers.core.addresses import MAX_URL_CHARACTERS
from workers.core.lines import SERVED_ENDPOINTS
from workers.core.webhooks import secret_problem
from workers.core.window import window_s

_HOUR_S, _DAY_S = 3600, 86_400


def in_words(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b, and c`."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


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
    cache: Literal["on", "off", "warm"] | None = None
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


class BatchForm(Strict):
    """What a batch is made from."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=256)]
    endpoint: Endpoint
    completion_window: Window
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None
    batchwright: Extension = Field(default_factory=Extension)


class CreateBatch(BatchForm):
    """POST /v1/batches."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class ResumeOptions(Strict):
    """What a resume may change."""

    model_config = ConfigDict(strict=True, extra="forbid")

    max_cost_usd: MaxCost | None = None


class ResumeBatch(Strict):
    """POST /v1/batches/{id}/resume; the body may be empty."""

    batchwright: ResumeOptions = Field(default_factory=ResumeOptions)

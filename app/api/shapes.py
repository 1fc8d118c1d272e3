"""The replies of the API as the OpenAPI document shows them. Every object names all its fields, and no other may appear.

No handler makes its reply from these; a test holds them true. Times are Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """An object with these fields, all of them there unless they have a default, and no other."""

    model_config = ConfigDict(extra="forbid")


class ErrorObject(Shape):
    """Why a call was refused."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Shape):
    """What every refusal looks like."""

    error: ErrorObject


class File(Shape):
    """A stored file, or the output or error file of a batch."""

    id: Annotated[str, Field(pattern="^file-")]
    object: Literal["file"]
    bytes: Annotated[int, Field(ge=0)]
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: str | None


class FileList(Shape):
    """One page of files."""

    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Shape):
    """A file that is shown no more."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class BatchError(Shape):
    """One thing that is wrong with an input file; `line` counts from 1."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(Shape):
    """Why a batch could not start."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(Shape):
    """How many requests there are, have an answer, have failed."""

    total: Annotated[int, Field(ge=0)]
    completed: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]


class InputDetails(Shape):
    """Of the input tokens, those that the provider had cached."""

    cached_tokens: int


class OutputDetails(Shape):
    """Of the output tokens, those of the model's thoughts."""

    reasoning_tokens: int


class BatchUsage(Shape):
    """The tokens of a batch, as far as it has come."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


BatchState = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]


class Waiting(Shape):
    """One thing that a batch waits for."""

    kind: str
    text: str
    provider: str | None
    shards: int
    since: float | None
    until: float | None


class Why(Shape):
    """What keeps a batch from moving."""

    id: str
    status: BatchState
    waiting_for: list[Waiting]


class JsonObject(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="allow")


AnyJson = Any

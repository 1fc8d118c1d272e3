"""The replies of the API as the OpenAPI document shows them. An object names all its fields, and has no others.

Files and batches are here, the rest in shapes_work.py, shapes_tenancy.py and shapes_webhooks.py. No handler makes its
reply from these; tests/support/truth.py holds every reply of the tests to them. Times are Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    """An object with these fields, all of them there, and no other."""

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
    bytes: Count
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

    total: Count
    completed: Count
    failed: Count


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


class ProviderShare(Shape):
    """What one provider did for a batch. Money is null where an answer has no known price."""

    recorded: Count
    failed: Count
    calls: Count
    input_tokens: Count
    cached_tokens: Count
    cache_write_tokens: Count
    output_tokens: Count
    reasoning_tokens: Count
    cost_usd: float | None
    saved_usd: float | None


class BatchReceiver(Shape):
    """Who is told of one batch, beside its tenant's webhooks."""

    url: str


class BatchExtension(Shape):
    """Our own fields of a batch (docs/api.md). Money is null where an answer has no known price."""

    total: Count
    recorded: Count
    cached: Count
    coalesced: Count
    repeats: Count
    calls: Count
    excess_calls: Count
    asked_again: Count
    handed_over: Count
    never_ran: Count
    input_tokens: Count
    output_tokens: Count
    cost_usd: float | None
    saved_usd: float | None
    by_provider: dict[str, ProviderShare]
    ending: Literal["done", "cancelled", "expired"] | None
    paused: bool
    pause_reason: str | None
    max_cost_usd: float | None
    held_usd: float
    lost_usd: float
    simulated: bool
    warm: bool
    schedule_id: str | None
    webhook: BatchReceiver | None
    parent_id: str | None
    root_id: str | None
    children: list[str]


class Batch(Shape):
    """A batch. Every field is there in every state, null where there is nothing to say."""

    id: Annotated[str, Field(pattern="^batch_")]
    object: Literal["batch"]
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    model: str | None
    usage: BatchUsage
    batchwright: BatchExtension


class BatchReceiverMade(BatchReceiver):
    """The same with the secret that its events are signed by."""

    secret: str


class BatchExtensionMade(BatchExtension):
    """The same in the answer to what has made the batch."""

    # A retry that keeps its parent's receiver shows no secret: that was shown to who made the parent.
    webhook: BatchReceiverMade | BatchReceiver | None


class BatchMade(Batch):
    """A batch in the answer to what has made it: the one place that shows the secret of its own webhook."""

    batchwright: BatchExtensionMade


class BatchList(Shape):
    """One page of batches."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Waiting(Shape):
    """One thing that a batch waits for."""

    kind: str
    text: str
    provider: str | None
    shards: Count
    requests: Count
    since: float | None
    until: float | None
    command: str | None
    helps: str


class Running(Shape):
    """What one worker process has in hand of a batch for one provider; `calls` are under way, `requests` at most."""

    provider: str
    worker: str
    shards: Count
    requests: Count
    calls: Count
    since: float | None


class Why(Shape):
    """What keeps a batch from moving, what of it runs, and how it stands as a whole: `text`."""

    id: str
    status: BatchState
    total: Count
    done: Count
    failed: Count
    text: str
    command: str | None
    helps: str
    waiting_for: list[Waiting]
    running: list[Running]


class Event(Shape):
    """What happens to a batch (docs/events.md); `n` is the number of an entry of its log, null for progress."""

    object: Literal["event"]
    type: str
    n: int | None
    created_at: int
    data: dict[str, Any]

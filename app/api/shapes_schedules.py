"""The replies about schedules, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.api.shapes import Count, Shape

RunState = Literal["starting", "started", "refused", "missed"]


class ScheduledReceiver(Shape):
    """Who is told of each batch of a schedule; the secret is null but in the answer to what has made it."""

    url: str
    secret: str | None


class ScheduledOptions(Shape):
    """Our own options of the batches of a schedule; null: as the server has it when they are made."""

    model: str | None
    cache: str | None
    order: str
    invalid_lines: str | None
    run_key: str | None
    priority: int
    max_cost_usd: float | None
    webhook: ScheduledReceiver | None


class ScheduledExpiry(Shape):
    """When the output files of a schedule's batches go."""

    anchor: Literal["created_at"]
    seconds: int


class ScheduledBatch(Shape):
    """What the batches of a schedule are made from."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    output_expires_after: ScheduledExpiry | None
    batchwright: ScheduledOptions


class LastRun(Shape):
    """What a schedule did last."""

    due: int
    state: RunState
    batch_id: str | None


class Schedule(Shape):
    """A schedule; `next_due` is null while it is off, `beat_silent_s` how long no worker has heard of beat."""

    object: Literal["schedule"]
    id: Annotated[str, Field(pattern="^sched_")]
    name: str | None
    kind: Literal["batch", "warm"]
    cron: str | None
    timezone: str
    every_s: int | None
    missed: Literal["once", "all", "skip"] | None
    enabled: bool
    next_due: int | None
    next_due_times: list[int]
    last_run: LastRun | None
    created_at: int
    beat_silent_s: float | None
    batch: ScheduledBatch


class ScheduleList(Shape):
    """One page of schedules, newest first."""

    object: Literal["list"]
    data: list[Schedule]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ScheduleDeleted(Shape):
    """A schedule that is gone; the batches that it has made stay."""

    id: str
    object: Literal["schedule"]
    deleted: Literal[True]


class RunError(Shape):
    """Why a run made no batch."""

    code: str
    message: str


class ScheduleRun(Shape):
    """A due time and what came of it; `until` and `count` are of a stretch of due times that was missed."""

    object: Literal["schedule.run"]
    id: str
    schedule_id: str
    due: int
    by: Literal["clock", "request"]
    state: RunState
    begun_at: int
    batch_id: str | None
    batch_status: str | None
    error: RunError | None
    until: int
    count: Count


class ScheduleRunList(Shape):
    """One page of runs, the latest due first."""

    object: Literal["list"]
    data: list[ScheduleRun]
    first_id: str | None
    last_id: str | None
    has_more: bool

"""The Batch API under the official SDK: create, read, list, cancel, and the object in each of its states."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.api import Api, answered, input_line, never_ran, refused
from tests.support.eventually import eventually
from tests.support.late import Late
from workers.celery_config import PLAN_QUEUE
from workers.core import states
from workers.core.messages import Attempt, ItemError, Result
from workers.core.states import Ending

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration


def test_a_new_batch_is_validating_and_says_all_that_is_known(api: Api) -> None:
    file_id = api.input_file()
    batch = api.sdk.batches.create(
        input_file_id=file_id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "7"},
    )

    assert batch.id.startswith("batch_")
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", "/v1/chat/completions")
    assert (batch.input_file_id, batch.completion_window, batch.metadata) == (file_id, "24h", {"run": "7"})
    assert batch.expires_at == batch.created_at + 86_400
    assert (batch.output_file_id, batch.error_file_id, batch.errors) == (None, None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 0, "completed": 0, "failed": 0}
    assert api.sdk.batches.retrieve(batch.id) == batch


def test_a_new_batch_is_announced_to_the_planners_by_its_id_alone(api: Api) -> None:
    batch_id = api.batch()
    with redis.Redis.from_url(api.environ["BATCHWRIGHT_REDIS_URL"], socket_timeout=10) as broker:
        message: Any = {"headers": {"argsrepr": ""}}
        while batch_id not in message["headers"]["argsrepr"]:  # those of other tests may lie before it
            taken: Any = broker.blpop([PLAN_QUEUE], timeout=5)
            message = json.loads(taken[1])
    assert message["headers"]["task"] == "plan.batch"
    assert json.loads(b64decode(message["body"]))[:2] == [[batch_id], {}]


@pytest.mark.parametrize(
    ("window", "seconds"), [("1h", 3600), ("36h", 129_600), ("7d", 604_800), ("168h", 604_800)]
)
def test_a_completion_window_is_hours_or_days(api: Api, window: Any, seconds: int) -> None:
    batch = api.sdk.batches.retrieve(api.batch(completion_window=window))
    assert batch.expires_at == batch.created_at + seconds


def test_options_of_ours_reach_the_batch(api: Api) -> None:
    ours = {
        "model": "sim-large",
        "cache": "off",
        "order": "input",
        "invalid_lines": "skip",
        "priority": 9,
        "run_key": "k1",
    }
    batch_id = api.batch(extra_body={"batchwright": ours})
    doc = api.work.batches.get(batch_id)
    assert doc is not None
    wanted = {"model": "sim-large", "cache": False, "order": "input", "invalid_lines": "skip"}
    assert doc["options"] == wanted
    assert (doc["priority"], doc["run_key"]) == (9, "k1")
    found = api.call("GET", "/v1/batches", params={"run_key": "k1"}).json()
    assert [each["id"] for each in found["data"]] == [batch_id]
    assert api.call("GET", "/v1/batches", params={"run_key": "k2"}).json()["data"] == []


def test_a_batch_of_a_file_that_nobody_has_is_made_and_fails(api: Api) -> None:
    batch = api.sdk.batches.retrieve(api.batch(input_file_id="file-nowhere"))

    assert (batch.status, batch.request_counts.total if batch.request_counts else None) == ("failed", 0)
    assert batch.failed_at is not None
    assert batch.errors is not None
    assert batch.errors.data is not None
    error = batch.errors.data[0]
    assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
    assert error.message is not None
    assert error.message.startswith("Cannot find file file-nowhere, or organization ")


def test_a_deleted_or_foreign_or_unfit_file_is_no_input(api: Api) -> None:
    deleted = api.input_file()
    api.sdk.files.delete(deleted)
    foreign = api.input_file(key=api.other_key)
    unfit = api.sdk.files.create(file=("a.jsonl", input_line(1)), purpose="user_data").id
    for file_id in (deleted, foreign, unfit):
        assert api.sdk.batches.retrieve(api.batch(input_file_id=file_id)).status == "failed"


def test_a_completed_batch_has_its_counts_usage_and_files(api: Api) -> None:
    batch_id = api.batch(input_file_id=api.input_file(3))
    api.work.complete(batch_id, [answered(1), refused(2, 400), answered(3)])

    batch = api.sdk.batches.retrieve(batch_id)

    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert batch.usage is not None
    assert (batch.usage.input_tokens, batch.usage.output_tokens, batch.usage.total_tokens) == (20, 10, 30)
    assert batch.model == "sim-small"
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    output = api.sdk.files.content(batch.output_file_id)
    rows = [json.loads(line) for line in output.text.splitlines()]
    assert [row["custom_id"] for row in rows] == ["r1", "r3"]
    assert all(row["error"] is None and row["response"]["status_code"] == 200 for row in rows)
    shown = api.sdk.files.retrieve(batch.output_file_id)
    assert (shown.purpose, shown.bytes) == ("batch_output", len(output.content))


def test_our_own_fields_say_what_the_batch_cost(api: Api) -> None:
    batch_id = api.batch()
    api.work.complete(batch_id, [answered(1, cost_usd=0.25, excess=1), answered(2, cost_usd=0.5)])
    ours = api.call("GET", f"/v1/batches/{batch_id}").json()["batchwright"]
    assert ours == {
        "total": 2,
        "recorded": 2,
        "cached": 0,
        "coalesced": 0,
        "repeats": 0,
        "calls": 2,
        "excess_calls": 1,
        "asked_again": 0,
        "handed_over": 0,
        "never_ran": 0,
        "input_tokens": 20,
        "output_tokens": 10,
        "cost_usd": 0.75,
        "saved_usd": 0.0,
        "by_provider": {
            "sim": {
                "recorded": 2,
                "failed": 0,
                "calls": 2,
                "input_tokens": 20,
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "output_tokens": 10,
                "reasoning_tokens": 0,
                "cost_usd": 0.75,
                "saved_usd": 0.0,
            }
        },
        "ending": "done",
        "paused": False,
        "pause_reason": None,
        "max_cost_usd": None,
        "held_usd": 0.0,
        "lost_usd": 0.0,
        "simulated": True,
        "warm": False,
        "schedule_id": None,
        "webhook": None,
        "parent_id": None,
        "root_id": None,
        "children": [],
    }


def test_each_item_says_what_it_took_page_by_page(api: Api) -> None:
    batch_id = api.batch(input_file_id=api.input_file(3))
    late = Attempt(9.5, "sim", "timeout", None, "retry", 0.5, excess=True)
    last = Attempt(10.5, "sim", "provider_unavailable", 503, "give_up")
    failed = Result(3, "r3", "call", error=ItemError("timeout", "too late"), calls=2)
    failed = replace(failed, attempts=(late, last), waited_s={"limit": 2.5, "retry": 0.5})
    api.work.complete(batch_id, [answered(1, cost_usd=0.25), answered(2, cost_usd=None), failed])
    ask = f"/v1/batches/{batch_id}/items"
    first = api.call("GET", f"{ask}?limit=2").json()
    assert [(row["line"], row["cost_usd"], row["source"]) for row in first["data"]] == [
        (1, 0.25, "call"),
        (2, None, "call"),
    ]
    assert first["has_more"]
    rest = api.call("GET", f"{ask}?after=2").json()
    assert [(row["status"], row["calls"], row["error"]["code"]) for row in rest["data"]] == [
        ("failed", 2, "timeout")
    ]
    assert not rest["has_more"]
    assert [(row["provider"], row["waited_s"]) for row in (*first["data"], *rest["data"])] == [
        ("sim", {}),
        ("sim", {}),
        ("sim", {"limit": 2.5, "retry": 0.5}),
    ]
    names = ("at", "provider", "code", "status", "then", "wait_s")
    assert rest["data"][0]["attempts"] == [
        dict(zip(names, (9.5, "sim", "timeout", None, "retry", 0.5), strict=True)),
        dict(zip(names, (10.5, "sim", "provider_unavailable", 503, "give_up", 0.0), strict=True)),
    ]
    assert [row["line"] for row in api.call("GET", f"{ask}?status=failed").json()["data"]] == [3]
    other = {"authorization": f"Bearer {api.other_key}"}
    assert api.call("GET", ask, headers=other).status_code == 404


def test_what_the_days_cost_is_summed_by_provider_for_this_tenant_alone(api: Api) -> None:
    batch_id = api.batch()
    before = api.call("GET", "/v1/costs").json()
    api.work.complete(batch_id, [answered(1, cost_usd=0.25), answered(2, cost_usd=0.5)])
    after = api.call("GET", "/v1/costs?days=1").json()
    assert after["object"] == "costs" and [row["provider"] for row in after["data"]] == ["sim"]
    assert after["data"][0]["calls"] - sum(row["calls"] for row in before["data"]) == 2
    other = {"authorization": f"Bearer {api.other_key}"}
    theirs = api.call("GET", "/v1/costs", headers=other).json()
    assert theirs["data"] == [] and theirs["cost_usd"] == 0
    assert api.call("GET", "/v1/costs?days=0").status_code == 400


def test_an_unknown_price_makes_the_cost_unknown_never_zero(api: Api) -> None:
    batch_id = api.batch()
    api.work.complete(batch_id, [answered(1, cost_usd=None), answered(2, cost_usd=0.5)])
    assert api.call("GET", f"/v1/batches/{batch_id}").json()["batchwright"]["cost_usd"] is None


def test_a_running_batch_shows_what_is_recorded_and_keeps_the_sum(api: Api) -> None:
    batch_id = api.batch(input_file_id=api.input_file(3))
    api.work.start(batch_id, 3)
    api.work.record(batch_id, [answered(1), answered(2)])

    batch = api.sdk.batches.retrieve(batch_id)

    assert (batch.status, batch.in_progress_at is not None) == ("in_progress", True)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 0}
    doc = api.work.batches.get(batch_id)
    assert doc is not None
    assert doc["counts"]["completed"] == 2


def test_the_sdk_pages_through_batches_newest_first(api: Api) -> None:
    sdk = api.sdk_of(api.other_key)
    file_id = api.input_file(key=api.other_key)
    made = [
        sdk.batches.create(
            input_file_id=file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"n": str(n)},
        ).id
        for n in range(5)
    ]
    assert [batch.id for batch in sdk.batches.list(limit=2)][:5] == made[::-1]
    page = sdk.batches.list(limit=2)
    assert (page.has_more, len(page.data)) == (True, 2)


def test_cancel_takes_an_empty_body_and_answers_again_while_it_lasts(api: Api) -> None:
    batch_id = api.batch()
    first, second = api.sdk.batches.cancel(batch_id), api.sdk.batches.cancel(batch_id)
    assert first.status == "cancelling"
    assert second.status in ("cancelling", "cancelled")
    assert first.cancelling_at == second.cancelling_at

    eventually(lambda: api.sdk.batches.retrieve(batch_id).status == "cancelled", 5)

    third = api.sdk.batches.cancel(batch_id)
    assert (third.status, third.cancelling_at) == ("cancelled", first.cancelling_at)


@pytest.mark.parametrize("status", ["finalizing", "completed", "failed", "expired"])
def test_cancel_of_what_is_over_is_a_409_that_the_sdk_does_not_repeat(api: Api, status: str) -> None:
    batch_id = api.batch(input_file_id="file-nowhere" if status == "failed" else None)
    if status in ("finalizing", "completed"):
        api.work.start(batch_id, 1)
        assert api.work.batches.finalize(batch_id)
    if status == "completed":
        api.work.end(batch_id, states.COMPLETE)
    if status == "expired":
        api.work.start(batch_id, 1)
        api.work.end(batch_id, states.END_EXPIRED)

    with pytest.raises(openai.ConflictError) as clash:
        # With its repeats on: x-should-retry must stop them.
        api.sdk_of(api.key, max_retries=2).batches.cancel(batch_id)

    assert f"Cannot cancel a batch with status '{status}'." in clash.value.message
    assert clash.value.response.headers["x-should-retry"] == "false"
    assert clash.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_batch_whose_window_is_over_cannot_be_cancelled_any_more(api: Api) -> None:
    batch_id = api.batch()
    api.work.start(batch_id, 1)
    api.work.db["batch_jobs"].update_one({"_id": batch_id}, {"$set": {"ending": str(Ending.EXPIRED)}})
    with pytest.raises(openai.ConflictError, match="window is over"):
        api.sdk.batches.cancel(batch_id)
    assert api.sdk.batches.retrieve(batch_id).status == "in_progress"


def test_an_expired_batch_keeps_what_it_finished_and_counts_the_rest_as_neither(api: Api) -> None:
    batch_id = api.batch(input_file_id=api.input_file(2))
    api.work.start(batch_id, 2)
    api.work.record(batch_id, [answered(1), never_ran(2, "batch_expired")])
    api.work.end(batch_id, states.END_EXPIRED)

    batch = api.sdk.batches.retrieve(batch_id)

    assert batch.status == "expired"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 2, "completed": 1, "failed": 0}
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    assert json.loads(api.sdk.files.content(batch.output_file_id).text)["custom_id"] == "r1"
    closed = json.loads(api.sdk.files.content(batch.error_file_id).text)
    assert (closed["response"], closed["error"]["code"]) == (None, "batch_expired")

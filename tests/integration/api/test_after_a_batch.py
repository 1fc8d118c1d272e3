"""After a batch: retries as linked batches, one file of all, failures by kind, items by filter and cursor."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.support.api import Api, answered, never_ran, refused
from workers.core import states
from workers.core.identity import shard_id
from workers.core.messages import Item, ItemError, Result, ShardPlan
from workers.core.webhooks import secret_from
from workers.store.shard_docs import shard_doc

pytestmark = pytest.mark.integration


def timed_out(line: int) -> Result:
    return Result(
        line=line, custom_id=f"r{line}", source="call", error=ItemError("timeout", "no answer"), calls=1
    )


def ended(api: Api, *results: Result, **changed: Any) -> str:
    """A completed batch with these results; gives its id."""
    batch_id = api.batch(input_file_id=api.input_file(len(results)), **changed)
    api.work.complete(batch_id, results)
    return batch_id


def retry(api: Api, batch_id: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.call("POST", f"/v1/batches/{batch_id}/retry", json=body, headers=names)


def complete_child(api: Api, child_id: str, *results: Result) -> None:
    """What a worker does to a retry that has been planned with the lines of these results."""
    batch = api.work.batches.claim_plan(child_id, "test", 60.0)
    assert batch is not None
    fence, items = batch["plan"]["fence"], tuple(Item(each.line, 0, 1) for each in results)
    plan = ShardPlan(0, "sim", items, len(items), len(items))
    api.work.shards.insert_missing([shard_doc(shard_id(child_id, 0), plan, batch)])
    assert api.work.batches.start(child_id, fence, total=len(items), model="sim-small", repeats=0)
    api.work.shards.open(child_id)
    api.work.batches.opened(child_id, fence)
    api.work.record(child_id, results)
    assert api.work.batches.finalize(child_id)
    api.work.end(child_id, states.COMPLETE)


def error_of(response: httpx.Response) -> tuple[int, str, str | None]:
    return response.status_code, response.json()["error"]["code"], response.headers.get("x-should-retry")


def ids_of(text: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


# --- retries


def test_a_batch_that_warms_says_so_and_so_does_its_retry(api: Api) -> None:
    parent = ended(api, answered(1), refused(2), extra_body={"batchwright": {"cache": "warm"}})
    assert api.call("GET", f"/v1/batches/{parent}").json()["batchwright"]["warm"] is True
    child = retry(api, parent).json()
    stored = api.work.batches.get(child["id"])
    assert stored is not None and (stored["warm"], stored["options"]["cache"]) == (True, True)


def test_a_retry_is_a_linked_batch_on_the_parents_file_with_its_options(api: Api) -> None:
    parent = ended(
        api,
        answered(1),
        refused(2),
        metadata={"a": "b"},
        extra_body={"batchwright": {"cache": "off", "priority": 3}},
    )
    child = retry(api, parent, {"batchwright": {"model": "sim-large"}}).json()
    shown = api.sdk.batches.retrieve(parent)
    of_parent = api.call("GET", f"/v1/batches/{parent}").json()
    stored = api.work.batches.get(child["id"])
    assert stored is not None
    assert (child["status"], child["input_file_id"], child["metadata"]) == (
        "validating",
        shown.input_file_id,
        {"a": "b"},
    )
    assert (child["batchwright"]["parent_id"], child["batchwright"]["root_id"]) == (parent, parent)
    assert of_parent["batchwright"]["children"] == [child["id"]]
    assert (stored["options"]["model"], stored["options"]["cache"], stored["priority"]) == (
        "sim-large",
        False,
        3,
    )
    assert stored["generation"] == 1


def test_a_retry_tells_its_parents_receiver_and_shows_the_secret_to_nobody_who_did_not_set_it(
    api: Api,
) -> None:
    parent = ended(api, refused(1))
    webhook = {"url": "http://127.0.0.1:9/", "secret": secret_from(b"p" * 32)}
    api.work.db["batch_jobs"].update_one({"_id": parent}, {"$set": {"webhook": webhook}})
    child = retry(api, parent).json()
    assert child["batchwright"]["webhook"] == {"url": webhook["url"]}
    assert api.work.batches.get(child["id"])["webhook"] == webhook  # type: ignore[index]


def test_one_retry_is_open_at_a_time_and_the_next_takes_what_the_line_has_left(api: Api) -> None:
    parent = ended(api, answered(1), refused(2), timed_out(3))
    first = retry(api, parent).json()["id"]
    clash = retry(api, parent)
    assert error_of(clash) == (409, "retry_in_progress", "false")
    assert first in clash.json()["error"]["message"]
    assert error_of(retry(api, first))[1] == "retry_in_progress"
    complete_child(api, first, answered(2), timed_out(3))
    second = retry(api, first).json()
    assert (second["batchwright"]["parent_id"], second["batchwright"]["root_id"]) == (first, parent)
    complete_child(api, second["id"], answered(3))
    assert error_of(retry(api, parent)) == (409, "nothing_to_retry", "false")


def test_nothing_is_retried_that_runs_or_that_a_filter_does_not_fit(api: Api) -> None:
    running = api.batch()
    api.work.start(running, 2)
    assert error_of(retry(api, running)) == (409, "batch_not_finished", "false")
    parent = ended(api, answered(1), refused(2), never_ran(3, "batch_expired"))
    for only in ({"codes": ["timeout"]}, {"lines": [[1, 1]]}, {"custom_ids": ["r1"]}):
        assert error_of(retry(api, parent, {"filter": only}))[:2] == (409, "nothing_to_retry"), only
    child = retry(api, parent, {"filter": {"never_ran": True, "lines": [[2, 3]]}}).json()["id"]
    assert api.work.batches.get(child)["retry"] == {"never_ran": True, "lines": [[2, 3]]}  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"filter": {"code": ["x"]}}, "filter.code"),
        ({"filters": {}}, "filters"),
        ({"filter": {"lines": [[3, 1]]}}, "filter.lines.0"),
        ({"filter": {"lines": [[1]]}}, "filter.lines.0"),
        ({"filter": {"status_codes": ["429"]}}, "filter.status_codes.0"),
        ({"completion_window": "1y"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"batchwright": {"modle": "x"}}, "batchwright.modle"),
    ],
)
def test_a_retry_that_is_misspelt_is_refused_since_it_would_retry_everything(
    api: Api, body: dict[str, Any], param: str
) -> None:
    reply = retry(api, _failed_one(api), body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


_made: dict[str, str] = {}


def _failed_one(api: Api) -> str:
    """One batch with a failure for all tests that only ask."""
    if api.url not in _made:
        _made[api.url] = ended(api, refused(1))
    return _made[api.url]


def test_two_retries_at_once_make_one_child(api: Api) -> None:
    parent = ended(api, refused(1))
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda n: retry(api, parent, {"metadata": {"n": str(n)}}), range(6)))
    made = {reply.json()["id"] for reply in replies if reply.status_code == 200}
    assert len(made) == 1
    assert {error_of(reply)[1] for reply in replies if reply.status_code != 200} == {"retry_in_progress"}
    assert api.work.db["batch_jobs"].count_documents({"root_id": parent}) == 1


def test_a_retry_that_is_sent_again_makes_no_second_child(api: Api) -> None:
    parent, other = ended(api, refused(1)), ended(api, refused(1))
    first = retry(api, parent, idempotency_key=f"k-{parent}").json()["id"]
    assert retry(api, parent, idempotency_key=f"k-{parent}").json()["id"] == first
    assert (
        retry(api, parent, x_stainless_retry_count="1", idempotency_key=f"k-{parent}").json()["id"] == first
    )
    assert error_of(retry(api, other, idempotency_key=f"k-{parent}"))[1] == "idempotency_key_reused"
    blind = retry(api, other).json()["id"]
    assert retry(api, other, x_stainless_retry_count="1").json()["id"] == blind


def test_another_tenants_batch_can_be_neither_retried_nor_read(api: Api) -> None:
    parent = ended(api, refused(1))
    headers = {"authorization": f"Bearer {api.other_key}"}
    for method, path in (
        ("POST", "retry"),
        ("GET", "output?merge=true"),
        ("GET", "errors"),
        ("GET", "errors?merge=true"),
        ("GET", "items"),
        ("GET", "items?status=pending"),
        ("GET", "items/1"),
    ):
        reply = api.call(method, f"/v1/batches/{parent}/{path}", headers=headers)
        assert reply.status_code == 404, path


def test_a_lineage_whose_beginning_is_gone_is_neither_retried_nor_merged(api: Api) -> None:
    parent = ended(api, refused(1))
    child = retry(api, parent).json()["id"]
    complete_child(api, child, refused(1))
    api.work.db["batch_jobs"].delete_one({"_id": parent})
    assert error_of(retry(api, child))[:2] == (409, "lineage_incomplete")
    assert error_of(api.call("GET", f"/v1/batches/{child}/output?merge=true"))[:2] == (
        409,
        "lineage_incomplete",
    )


def test_a_retry_keeps_what_it_reads_for_as_long_as_itself(api: Api) -> None:
    parent = ended(api, refused(1))
    soon = {"$add": ["$$NOW", 60_000]}
    api.work.db["batch_jobs"].update_one({"_id": parent}, [{"$set": {"expire_at": soon}}])
    child = retry(api, parent).json()["id"]
    complete_child(api, child, answered(1))
    kept = {doc["_id"]: doc["expire_at"] for doc in api.work.batches.lineage(parent)}
    assert kept[parent] > kept[child]


# --- merged files


def test_a_merged_download_has_each_line_once_in_order_the_first_success_or_the_latest_failure(
    api: Api,
) -> None:
    parent = ended(api, answered(1), timed_out(2), timed_out(3), answered(4), refused(5))
    first = retry(api, parent).json()["id"]
    open_ = api.call("GET", f"/v1/batches/{parent}/output?merge=true")
    assert error_of(open_) == (409, "batch_not_finished", "false")
    assert ids_of(api.call("GET", f"/v1/batches/{parent}/output?merge=true&partial=true").text) == [
        "r1",
        "r4",
    ]
    complete_child(api, first, answered(2, text="second"), refused(3, 503), refused(5, 418))
    second = retry(api, parent, {"filter": {"lines": [[3, 3]]}}).json()["id"]
    complete_child(api, second, answered(3, text="z" * 1_200_000))  # its body lies in the object store
    for named in (parent, first, second):
        path = f"/v1/batches/{named}/output"
        answers = api.call("GET", path, params={"merge": "true", "order": "input"}).text
        errors = api.call("GET", path, params={"merge": "true", "which": "error"}).text
        assert ids_of(answers) == ["r1", "r2", "r3", "r4"]
        assert [json.loads(line)["response"]["status_code"] for line in errors.splitlines()] == [418]


# --- failures by kind


def test_failures_are_counted_by_kind_with_words_samples_and_what_helps(api: Api) -> None:
    results = [timed_out(n) for n in range(1, 8)] + [
        refused(8, 400),
        never_ran(9, "batch_expired"),
        answered(10),
    ]
    parent = ended(api, *results)
    found = api.call("GET", f"/v1/batches/{parent}/errors").json()
    kinds = {kind["code"]: kind for kind in found["data"]}
    assert [kind["count"] for kind in found["data"]] == [7, 1, 1]
    assert (found["failed"], set(kinds)) == (9, {"timeout", "http_400", "batch_expired"})
    assert [each["line"] for each in kinds["timeout"]["samples"]] == [1, 2, 3, 4, 5]
    assert kinds["timeout"]["samples"][0]["custom_id"] == "r1"
    assert (kinds["http_400"]["message"], kinds["http_400"]["provider_code"]) == ("no", "c")
    assert {code: kind["retryable"] for code, kind in kinds.items()} == {
        "timeout": True,
        "http_400": False,
        "batch_expired": True,
    }


def test_failures_that_a_retry_has_made_good_are_not_counted_in_the_merged_summary(api: Api) -> None:
    parent = ended(api, timed_out(1), timed_out(2), refused(3))
    child = retry(api, parent).json()["id"]
    complete_child(api, child, answered(1), refused(2, 503), refused(3))
    merged = api.call("GET", f"/v1/batches/{child}/errors?merge=true").json()
    assert {kind["code"]: kind["count"] for kind in merged["data"]} == {"http_503": 1, "http_400": 1}
    assert merged["data"][0]["samples"] == [{"line": 3, "custom_id": "r3"}]


def test_one_batch_and_a_lineage_of_one_are_counted_alike(api: Api) -> None:
    batch_id = ended(api, *[timed_out(n) for n in range(1, 10)], refused(10, 429), answered(11))
    path = f"/v1/batches/{batch_id}/errors"
    assert api.call("GET", path).json() == api.call("GET", path, params={"merge": "true"}).json()
    assert api.call("GET", f"/v1/batches/{ended(api, answered(1))}/errors").json()["data"] == []


# --- items


def pages(api: Api, batch_id: str, **params: Any) -> Iterator[dict[str, Any]]:
    while True:
        page = api.call("GET", f"/v1/batches/{batch_id}/items", params=params).json()
        yield page
        if not page["has_more"]:
            return
        params["cursor"] = page["next_cursor"]


@pytest.mark.parametrize(
    ("only", "lines"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"status": "completed"}, [1, 5]),
        ({"status": "failed"}, [2, 3]),
        ({"status": "never_ran"}, [4]),
        ({"code": "timeout"}, [2]),
        ({"code": "http_400"}, [3]),
        ({"status": "completed", "code": "timeout"}, []),
        ({"custom_id": "r3"}, [3]),
        ({"custom_id": "r3", "status": "completed"}, []),
        ({"after": 3}, [4, 5]),
    ],
)
def test_items_are_found_by_filter_page_after_page(api: Api, only: dict[str, Any], lines: list[int]) -> None:
    batch_id = _mixed(api)
    found = [row for page in pages(api, batch_id, limit=1, **only) for row in page["data"]]
    assert [row["line"] for row in found] == lines
    assert len(found) == len({row["line"] for row in found})


def _mixed(api: Api) -> str:
    name = f"mixed {api.url}"
    if name not in _made:
        results = (answered(1), timed_out(2), refused(3), never_ran(4, "batch_cancelled"), answered(5))
        _made[name] = ended(api, *results)
    return _made[name]


def test_pending_items_say_what_they_wait_for_and_leave_the_list_when_they_are_recorded(api: Api) -> None:
    batch_id = api.batch(input_file_id=api.input_file(5))
    api.work.start(batch_id, 5)
    path = f"/v1/batches/{batch_id}/items"
    queued = [row for page in pages(api, batch_id, status="pending", limit=2) for row in page["data"]]
    assert [(row["line"], row["state"]) for row in queued] == [(line, "queued") for line in range(1, 6)]
    shard = api.work.record(batch_id, [answered(2), timed_out(4)])
    held = api.call("GET", path, params={"status": "pending"}).json()
    assert [(row["line"], row["state"]) for row in held["data"]] == [
        (1, "leased"),
        (3, "leased"),
        (5, "leased"),
    ]
    history = {"1": {"counts": [1, 0, 0, 0, 2, 0], "waited_s": {"retry": 1.5}}}
    assert api.work.shards.release(shard, 1, wait_s=60, reason="limit", attempts=history)
    parked = api.call("GET", path, params={"status": "pending"}).json()["data"]
    assert [(row["state"], row["reason"]) for row in parked] == [("parked", "limit")] * 3
    assert (parked[0]["calls"], parked[0]["waited_s"]) == (2, {"retry": 1.5})
    assert parked[0]["until"] > 0
    api.work.shards.claim(shard, "test", 60)
    assert api.call("GET", path).json()["data"][0]["line"] == 2


@pytest.mark.parametrize("cursor", ["x", "!!", base64.urlsafe_b64encode(b"p::1").decode(), "cjox.."])
def test_what_is_no_cursor_is_refused(api: Api, cursor: str) -> None:
    reply = api.call("GET", f"/v1/batches/{_mixed(api)}/items", params={"cursor": cursor})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "cursor")


def test_a_cursor_of_pending_items_reaches_no_other_batch(api: Api) -> None:
    mine, other = api.batch(input_file_id=api.input_file(3)), api.batch(input_file_id=api.input_file(3))
    for batch_id in (mine, other):
        api.work.start(batch_id, 3)
    first = next(islice(pages(api, other, status="pending", limit=1), 1))
    params = {"status": "pending", "cursor": first["next_cursor"]}
    assert [
        row["line"] for row in api.call("GET", f"/v1/batches/{mine}/items", params=params).json()["data"]
    ] == [2, 3]


def test_one_item_comes_with_its_request_and_its_result(api: Api) -> None:
    batch_id = api.batch(input_file_id=(file_id := api.input_file(2)))
    content = api.sdk.files.content(file_id).content
    first, second = content.splitlines(keepends=True)
    batch = api.work.batches.claim_plan(batch_id, "test", 60.0)
    assert batch is not None
    items = (Item(1, 0, len(first) - 1), Item(2, len(first), len(second) - 1))
    plan = ShardPlan(0, "sim", items, 2, len(content))
    api.work.shards.insert_missing([shard_doc(shard_id(batch_id, 0), plan, batch)])
    api.work.batches.start(batch_id, batch["plan"]["fence"], total=2, model="sim-small", repeats=0)
    api.work.shards.open(batch_id)
    api.work.record(batch_id, [answered(1)])
    one, two = (api.call("GET", f"/v1/batches/{batch_id}/items/{line}").json() for line in (1, 2))
    assert (one["status"], one["request"]["custom_id"], one["result"]["custom_id"]) == (
        "completed",
        "r1",
        "r1",
    )
    assert one["result"]["response"]["status_code"] == 200
    assert (two["status"], two["request"]["custom_id"], two["result"]) == ("pending", "r2", None)
    assert api.call("GET", f"/v1/batches/{batch_id}/items/3").status_code == 404

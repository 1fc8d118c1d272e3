"""A tenant's limits of queued items and of storage at the API's door, as the official SDK meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.test_tenants import ask, key_of, made
from tests.support.api import Api, input_line
from tests.support.late import Late
from workers.core.identity import shard_id
from workers.store.worker_processes import WorkerProcesses

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration


def upload(api: Api, key: str, content: bytes) -> str:
    return api.sdk_of(key).files.create(file=("in.jsonl", content), purpose="batch").id


def stored(api: Api, tenant: str) -> list[int]:
    return [
        row["bytes"] for row in api.work.db["files"].find({"tenant": tenant, "state": {"$ne": "abandoned"}})
    ]


def test_a_create_of_a_tenant_with_a_full_queue_is_refused_until_some_of_it_is_answered(api: Api) -> None:
    # given a tenant that may have two items queued, and has
    tenant = made(api, limits={"max_queued_items": 2})
    key = key_of(api, tenant)
    file_id = api.input_file(key=key)
    create: dict[str, Any] = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batches = api.sdk_of(key).batches
    running = batches.create(**create).id
    api.work.start(running, 2)
    # when / then
    with pytest.raises(openai.RateLimitError) as refused:
        batches.create(**create)
    error = refused.value
    assert error.code == "queued_items_limit" and "2 requests" in error.message
    assert error.response.headers["retry-after"] == "10", "and the SDK asks again by itself"
    # and a batch that nobody has checked yet has no items
    counts = {"counts.recorded": 1}
    api.work.db["batch_shards"].update_one({"_id": shard_id(running, 0)}, {"$set": counts})
    assert batches.create(**create).status == "validating"


def test_a_file_beyond_a_tenants_storage_is_refused_and_leaves_nothing(api: Api) -> None:
    # given
    line = input_line(1)
    tenant = made(api, limits={"max_storage_bytes": 2 * len(line)})
    key = key_of(api, tenant)
    upload(api, key, line)
    # when / then a file that does not fit beside it
    with pytest.raises(openai.APIStatusError) as refused:
        upload(api, key, line * 2)
    assert (refused.value.status_code, refused.value.code) == (413, "storage_limit_exceeded")
    assert f"{2 * len(line):,}" in refused.value.message and stored(api, tenant) == [len(line)]
    # and one that announces more than could ever fit, without a look at it
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": "multipart/form-data; boundary=x",
        "content-length": "1000000",
    }
    reply = api.call("POST", "/v1/files", headers=headers, content=b"x" * 1_000_000)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "storage_limit_exceeded")
    # and to the last byte it fits
    upload(api, key, line)
    assert stored(api, tenant) == [len(line)] * 2


def test_a_deleted_file_takes_storage_until_nothing_needs_it(api: Api) -> None:
    line = input_line(1)
    tenant = made(api, limits={"max_storage_bytes": len(line)})
    key = key_of(api, tenant)
    file_id = upload(api, key, line)
    api.sdk_of(key).files.delete(file_id)
    with pytest.raises(openai.APIStatusError, match="does not fit"):
        upload(api, key, line)
    assert api.work.files.drop(file_id), "what the sweeper does once no batch needs it"
    upload(api, key, line)


def test_why_says_that_a_batch_waits_for_its_tenants_limit_which_one_and_until_when(api: Api) -> None:
    # given a batch that rests for its tenant's requests a minute, and another of the same tenant
    tenant = made(api, limits={"requests_per_minute": 1})
    key = key_of(api, tenant)
    create: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made_ids = [
        api.sdk_of(key).batches.create(input_file_id=api.input_file(key=key), **create).id for _ in range(2)
    ]
    workers = WorkerProcesses(api.work.db)
    workers.beat("w", providers=["sim"], slots=4)
    try:
        for batch_id in made_ids:
            api.work.start(batch_id, 2)
        claimed = api.work.shards.claim(shard_id(made_ids[0], 0), "w", 60)
        assert claimed is not None
        reason = "tenant_requests"
        api.work.shards.release(claimed["_id"], claimed["fence"], wait_s=30, reason=reason)
        found = [ask(api, "GET", f"batches/{id_}/why", key=key)[1]["waiting_for"] for id_ in made_ids]
    finally:
        workers.leave("w")
    # then both say so
    for (waiting,) in found:
        assert (waiting["kind"], waiting["provider"], waiting["shards"]) == ("tenant_limit", None, 1)
        assert "requests_per_minute" in waiting["text"] and waiting["until"] is not None

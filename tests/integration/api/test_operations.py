"""What is ours beside the Batch API: partial output, pause and resume, why; and what happens without a store."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.api.__main__ import main
from app.api.application import create_app
from app.api.services import open_services
from config.settings import load_settings
from tests.support.api import Api, answered, never_ran, refused
from tests.support.late import Late
from workers.core import states
from workers.core.identity import shard_id
from workers.store.worker_processes import WorkerProcesses

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration


def test_an_unfinished_output_is_readable_in_part_and_only_on_demand(api: Api) -> None:
    batch_id = api.batch(input_file_id=api.input_file(4))
    api.work.start(batch_id, 4)
    api.work.record(batch_id, [answered(1), refused(2), answered(3)])
    path = f"/v1/batches/{batch_id}/output"
    part = api.call("GET", path, params={"partial": "true"})
    errors = api.call("GET", path, params={"partial": "true", "which": "error"})
    whole = api.call("GET", path)
    assert [json.loads(line)["custom_id"] for line in part.text.splitlines()] == ["r1", "r3"]
    assert [json.loads(line)["custom_id"] for line in errors.text.splitlines()] == ["r2"]
    assert (whole.status_code, whole.json()["error"]["param"]) == (409, "partial")
    assert whole.headers["x-should-retry"] == "false"


def test_an_output_file_cannot_be_read_before_its_batch_has_ended(api: Api) -> None:
    """Its bytes could still grow; a finished file's never change."""
    batch_id = api.batch()
    api.work.start(batch_id, 2)
    api.work.record(batch_id, [answered(1), never_ran(2, "batch_expired")])
    api.work.files.put_view("file-early", "default", batch_id, which="output", size_bytes=1)
    for call in (api.sdk.files.retrieve, api.sdk.files.content):
        with pytest.raises(openai.NotFoundError):
            call("file-early")
    api.work.end(batch_id, states.END_EXPIRED)
    assert json.loads(api.sdk.files.content("file-early").text)["custom_id"] == "r1"


def test_a_long_output_comes_whole_and_in_input_order(api: Api) -> None:
    batch_id = api.batch()
    results = [answered(line, text="x" * 3000) for line in range(1, 401)]
    api.work.complete(
        batch_id, [*results[::-1], answered(401, text="y" * 1_200_000)]
    )  # one body in the store
    output_id = api.sdk.batches.retrieve(batch_id).output_file_id
    assert output_id is not None
    lines = api.sdk.files.content(output_id).content.splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == [f"r{n}" for n in range(1, 402)]


def test_a_paused_batch_rests_until_it_is_resumed(api: Api) -> None:
    batch_id = api.batch()
    api.work.start(batch_id, 2)
    paused = api.call("POST", f"/v1/batches/{batch_id}/pause").json()
    why = api.call("GET", f"/v1/batches/{batch_id}/why").json()["waiting_for"]
    assert api.work.shards.claim(shard_id(batch_id, 0), "test", 60) is None
    resumed = api.call("POST", f"/v1/batches/{batch_id}/resume").json()
    assert (paused["batchwright"]["paused"], resumed["batchwright"]["paused"]) == (True, False)
    assert [(each["kind"], each["shards"]) for each in why] == [("paused", 1)]
    assert f"/v1/batches/{batch_id}/resume" in why[0]["text"]
    assert api.work.shards.claim(shard_id(batch_id, 0), "test", 60) is not None


def test_a_batch_at_its_ceiling_goes_on_only_with_a_higher_one(api: Api) -> None:
    batch_id = api.batch(extra_body={"batchwright": {"max_cost_usd": 1.5}})
    api.work.start(batch_id, 2)
    assert api.work.budgets.pause_for_budget(batch_id, limit_usd=1.5)
    api.work.shards.hold_back(batch_id)
    shown = api.call("GET", f"/v1/batches/{batch_id}").json()["batchwright"]
    assert (shown["paused"], shown["pause_reason"], shown["max_cost_usd"]) == (True, "budget", 1.5)
    (reason,) = api.call("GET", f"/v1/batches/{batch_id}/why").json()["waiting_for"]
    assert "$1.5" in reason["text"] and f"batchwright resume {batch_id} --max-cost-usd" in reason["text"]

    def resumed(*changes: float) -> httpx.Response:
        body = {"batchwright": {"max_cost_usd": changes[0]}} if changes else None
        return api.call("POST", f"/v1/batches/{batch_id}/resume", json=body)

    refused = {error["code"]: status for status, error in map(said, (resumed(), resumed(1.0)))}
    assert refused == {"max_cost_reached": 409, "max_cost_not_raised": 409}
    shown = resumed(2.0).json()["batchwright"]
    assert (shown["paused"], shown["pause_reason"], shown["max_cost_usd"]) == (False, None, 2.0)


@pytest.mark.parametrize("ceiling", [0, -1, "2", True])
def test_a_ceiling_that_is_no_sum_of_money_is_refused(api: Api, ceiling: object) -> None:
    body = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": "file-x"}
    refused = api.call("POST", "/v1/batches", json=body | {"batchwright": {"max_cost_usd": ceiling}})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "batchwright.max_cost_usd"


def said(response: httpx.Response) -> tuple[int, dict[str, object]]:
    return response.status_code, response.json()["error"]


def test_only_a_running_batch_can_be_paused(api: Api) -> None:
    waiting, over = api.batch(), api.batch()
    api.work.complete(over, [answered(1)])
    early = api.call("POST", f"/v1/batches/{waiting}/pause")
    late = api.call("POST", f"/v1/batches/{over}/resume")
    nobodys = api.call("POST", "/v1/batches/batch_nowhere/pause")
    assert (early.status_code, early.headers.get("x-should-retry")) == (409, None)
    assert (late.status_code, late.headers.get("x-should-retry")) == (409, "false")
    assert nobodys.status_code == 404


def test_why_names_what_a_batch_waits_for(api: Api) -> None:
    batch_id = api.batch()
    ask = f"/v1/batches/{batch_id}/why"
    workers = WorkerProcesses(api.work.db)
    assert _kinds(api.call("GET", ask)) == ["no_worker"]
    api.work.start(batch_id, 1)
    assert _kinds(api.call("GET", ask)) == ["no_worker"]
    workers.beat("w", providers=["sim"], slots=4)
    try:
        assert _kinds(api.call("GET", ask)) == ["queue"]
        claimed = api.work.shards.claim(shard_id(batch_id, 0), "w", 60)
        assert claimed is not None
        whole = api.call("GET", ask).json()
        assert (whole["waiting_for"], whole["command"], whole["total"]) == ([], None, 1)
        assert whole["text"].startswith("Nothing waits: ") and " has 1 request in hand" in whole["text"]
        (runs,) = whole["running"]
        assert (runs["provider"], runs["shards"], runs["requests"], runs["calls"]) == ("sim", 1, 1, 0)
        assert runs["worker"].startswith("worker-")
        api.work.shards.renew(
            {claimed["_id"]: claimed["fence"]}, 20
        )  # as one that has not been renewed for 40 s
        (lost,) = api.call("GET", ask).json()["waiting_for"]
        assert lost["kind"] == "lost_worker" and lost["text"].startswith("1 request to 'sim' is held"), lost
        assert api.work.shards.release(claimed["_id"], claimed["fence"], wait_s=30, reason="limit")
        parked = api.call("GET", ask).json()["waiting_for"][0]
    finally:
        workers.leave("w")
    assert (parked["kind"], parked["provider"], parked["shards"]) == ("limit", "sim", 1)
    assert (parked["requests"], parked["command"]) == (1, None) and "providers.sim.limits" in parked["helps"]
    assert 0 < parked["until"] - time.time() <= 31 and time.time() - parked["since"] < 20


def test_why_of_a_batch_that_has_ended_says_how_and_what_now(api: Api) -> None:
    batch_id = api.batch()
    api.work.complete(batch_id, [answered(1), refused(2)])
    whole = api.call("GET", f"/v1/batches/{batch_id}/why").json()
    assert (whole["total"], whole["done"], whole["failed"]) == (2, 2, 1)
    assert (whole["waiting_for"], whole["running"]) == ([], [])
    assert whole["command"] == f"batchwright errors {batch_id}" and "1 of 2 requests" in whole["text"]


async def test_a_create_does_not_need_the_broker_and_the_stop_does_not_wait_for_it(api: Api) -> None:
    """The sweeper publishes later what could not be published now."""
    environ = {**api.environ, "BATCHWRIGHT_REDIS_URL": "redis://127.0.0.1:1/0"}
    services = open_services(load_settings(environ))
    app: Any = create_app(services)
    body = {"input_file_id": api.input_file(), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", headers={"x-api-key": api.key}
    ) as http:
        reply = await http.post("/v1/batches", json=body)
        WorkerProcesses(api.work.db).beat("w", providers=["sim"], slots=4)
        try:
            assert _kinds(await http.get(f"/v1/batches/{reply.json()['id']}/why")) == ["broker"]
        finally:
            WorkerProcesses(api.work.db).leave("w")
    began = time.monotonic()
    await services.close(0.5)
    assert time.monotonic() - began < 1.0
    assert reply.status_code == 200
    assert reply.json()["status"] == "validating"


def test_a_taken_port_is_said_in_one_line(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = api.url.rpartition(":")[2]
    _set(monkeypatch, api.environ)
    assert main(["--port", port]) == 2
    said = f"cannot listen on 127.0.0.1:{port}: the port is taken; choose another, or 0 for a free one"
    assert capsys.readouterr().err == f"api: {said}\n"


def test_a_missing_server_is_said_in_one_line(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set(monkeypatch, {**api.environ, "BATCHWRIGHT_MONGODB_URL": ""})
    assert main(["--port", "0"]) == 2
    said = "api: BATCHWRIGHT_MONGODB_URL is not set; set it, or start everything with: batchwright up\n"
    assert capsys.readouterr().err == said


def _set(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def _kinds(reply: Any) -> list[str]:
    return [each["kind"] for each in reply.json()["waiting_for"]]

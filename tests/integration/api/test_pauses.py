"""Pause and resume of providers and tenants over HTTP: who may, and that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api
from workers.store.worker_processes import WorkerProcesses

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def worker(api: Api) -> Iterator[None]:
    """Somebody serves the provider `sim`."""
    workers = WorkerProcesses(api.work.db)
    workers.beat("w", providers=["sim"], slots=4)
    yield
    workers.leave("w")


def post(api: Api, path: str, key: str | None = None) -> tuple[int, Any]:
    reply = api.call("POST", f"/v1/{path}", headers=as_tenant(key or api.key))
    return reply.status_code, reply.json()


def as_tenant(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_paused_provider_shows_in_the_list_and_in_why_until_it_is_resumed(api: Api) -> None:
    batch_id = api.batch()
    api.work.start(batch_id, 2)
    status, pause = post(api, "providers/sim/pause")
    assert (status, pause["kind"], pause["name"], pause["paused"]) == (200, "provider", "sim", True)
    assert api.call("GET", "/v1/pauses").json()["data"] == [pause]
    (why,) = api.call("GET", f"/v1/batches/{batch_id}/why").json()["waiting_for"]
    assert (why["kind"], why["provider"], why["since"]) == ("provider_held", "sim", int(pause["since"]))
    assert "batchwright resume --provider sim" in why["text"]
    assert post(api, "providers/sim/resume")[1]["paused"] is False
    assert api.call("GET", "/v1/pauses").json()["data"] == []


def test_only_the_first_tenant_knows_of_providers(api: Api) -> None:
    nobody, others = post(api, "providers/nowhere/pause"), post(api, "providers/sim/pause", api.other_key)
    assert (nobody[0], others[0]) == (404, 404)
    assert others[1]["error"]["message"] == nobody[1]["error"]["message"].replace("nowhere", "sim")


def test_a_tenant_pauses_itself_and_nobody_else(api: Api) -> None:
    assert post(api, "tenants/other/pause", api.other_key)[1]["by"] == "other"
    assert [
        each["name"]
        for each in api.call("GET", "/v1/pauses", headers=as_tenant(api.other_key)).json()["data"]
    ] == ["other"]
    foreign, missing = post(api, "tenants/default/pause", api.other_key), post(api, "tenants/t3/pause")
    assert (foreign[0], missing[0]) == (404, 404)
    assert foreign[1]["error"]["message"] == missing[1]["error"]["message"].replace("t3", "default")
    assert post(api, "tenants/other/resume", api.other_key)[1]["paused"] is False


def test_what_the_operator_has_paused_only_the_operator_resumes(api: Api) -> None:
    assert post(api, "tenants/other/pause")[0] == 200
    status, refused = post(api, "tenants/other/resume", api.other_key)
    assert (status, refused["error"]["code"]) == (409, "paused_by_operator")
    assert post(api, "tenants/other/resume")[0] == 200

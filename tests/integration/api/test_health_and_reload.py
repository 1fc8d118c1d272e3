"""/health, /ready, /ai/status and the reload of a running API, and what its log says of requests."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.api import Api
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


def logged(api: Api, request_id: str) -> str:
    """The line about a request, once it is written."""

    def look() -> str | None:
        lines = api.log_path.read_text().splitlines()
        return next((line for line in lines if request_id in line and " request " in line), None)

    found = eventually(look, 5.0)
    assert found is not None
    return found


def test_all_servers_answer_and_anybody_may_ask(api: Api) -> None:
    reply = api.connection.get(f"{api.url}/ready")
    said = reply.json()
    assert (reply.status_code, said["status"]) == (200, "ready")
    assert set(said["services"]) == {"mongodb", "broker", "control_redis", "cache_redis"}
    health = api.connection.get(f"{api.url}/health").json()
    assert {each["state"] for each in health["services"].values()} == {"up"}
    assert "redis://" not in reply.text and "127.0.0.1" not in reply.text


def test_ai_status_is_for_every_tenant_with_a_key(api: Api) -> None:
    for key in (api.key, api.other_key):
        reply = api.call("GET", "/ai/status", headers={"authorization": f"Bearer {key}"})
        assert reply.status_code == 200 and reply.json()["features"]["cache"] is True
    assert api.connection.get(f"{api.url}/ai/status").status_code == 401


def test_a_reload_is_answered_by_the_api_itself_and_remembered(api: Api) -> None:
    asked = api.call("POST", "/v1/admin/reload").json()
    (own,) = [each for each in asked["processes"] if each["process"].startswith("api@")]
    assert (own["changed"], own["needs_restart"], own["error"]) == ([], [], None)
    again = api.call("GET", "/v1/admin/reload").json()
    assert again["generation"] == asked["generation"] and own in again["processes"]


def test_only_the_operator_reloads(api: Api) -> None:
    theirs = {"authorization": f"Bearer {api.other_key}"}
    assert api.call("POST", "/v1/admin/reload", headers=theirs).status_code == 403
    assert api.call("GET", "/v1/admin/reload", headers=theirs).status_code == 403


def test_a_request_is_one_line_with_its_route_time_and_ids(api: Api) -> None:
    reply = api.call("GET", "/v1/batches/batch_0%1b[31m")
    line = logged(api, reply.headers["x-request-id"])
    fields = dict(re.findall(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\S+)", line))
    assert fields["method"] == "GET" and fields["status"] == "404"
    assert fields["path"] == "/v1/batches/{batch_id}"
    assert json.loads(fields["real_path"]) == "/v1/batches/batch_0\\x1b[31m"
    assert fields["tenant"] == "default" and fields["key_id"].startswith("key_")
    assert float(fields["ms"]) >= 0 and int(fields["bytes"]) == len(reply.content)


def test_neither_the_key_nor_what_was_sent_is_in_the_log(api: Api) -> None:
    mark = "a-prompt-that-nobody-may-read"
    body = {"endpoint": "/v1/chat/completions", "model": "sim-small", "requests": [{"messages": [mark]}]}
    reply = api.call("POST", "/v1/cache/lookup", json=body)
    logged(api, reply.headers["x-request-id"])
    text = api.log_path.read_text()
    assert mark not in text and api.key not in text and api.key[8:30] not in text

"""The group `webhooks`: what is asked of the server, and what is said of its answers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import webhook_verbs
from app.cli.main import app
from app.client.calls import HttpCall

HOOK: dict[str, Any] = {
    "id": "whk_1",
    "object": "webhook",
    "url": "https://hooks.example.com/x",
    "events": ["batch.*"],
    "enabled": True,
    "disabled_reason": None,
    "old_secret_until": None,
    "created_at": 1_700_000_000,
    "updated_at": 1_700_000_000,
}
TRIED = {"at": 1_700_000_000, "status": 500, "error": "status 500", "took_ms": 12, "answer": ""}
DELIVERY: dict[str, Any] = {
    "id": "dlv_1",
    "webhook_id": "whk_1",
    "batch_id": "batch_1",
    "event_id": "evt_1",
    "event": "batch.failed",
    "status": "pending",
    "attempts": [TRIED],
    "next_at": 1_700_000_005,
    "created_at": 1_700_000_000,
}


class Server:
    """Answers every call with the same, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[HttpCall[Any]] = []
        self.reply: Any = HOOK

    def call(self, call: HttpCall[Any]) -> Any:
        self.asked.append(call)
        return call.read(self.reply)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(webhook_verbs, "load", lambda: None)
    monkeypatch.setattr(webhook_verbs, "named_server", lambda settings: nullcontext(made))
    return made


def said(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["webhooks", *words])
    return result.exit_code, result.stdout


@pytest.mark.parametrize("words", [("rotate", "whk_1"), ("create", "https://x")])
def test_a_receivers_secret_in_the_environment_signs_for_nobody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_receivers")
    said(*words)
    (asked,) = server.asked
    assert asked.json is not None and "secret" not in asked.json


@pytest.mark.parametrize(
    ("words", "method", "path", "body"),
    [
        (["create", "https://x"], "POST", "", {"url": "https://x"}),
        (
            ["create", "https://x", "--event", "tenant.*", "--event", "batch.failed", "--secret", "whsec_s"],
            "POST",
            "",
            {"url": "https://x", "events": ["tenant.*", "batch.failed"], "secret": "whsec_s"},
        ),
        (["show", "whk_1"], "GET", "/whk_1", None),
        (["rotate", "whk_1", "--grace-s", "60"], "POST", "/whk_1/rotate-secret", {"grace_s": 60}),
        (["rm", "../x"], "DELETE", "/..%2Fx", None),
        (["replay", "dlv_1"], "POST", "/deliveries/dlv_1/replay", {}),
    ],
)
def test_a_verb_is_one_call(server: Server, words: list[str], method: str, path: str, body: Any) -> None:
    assert said(*words, "--json")[0] == 0
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.json) == (method, f"/v1/webhooks{path}", body)
    assert asked.repeatable == (method == "GET")


def test_a_secret_is_shown_where_it_is_made_and_nowhere_else(server: Server) -> None:
    server.reply = HOOK | {"secret": "whsec_fresh", "old_secret_until": 1_700_000_060}
    assert "whsec_fresh" in said("create", "https://x")[1]
    assert "whsec_fresh" in said("rotate", "whk_1")[1]
    server.reply = HOOK
    assert "secret" not in said("show", "whk_1")[1]


def test_a_list_says_why_one_is_off(server: Server) -> None:
    server.reply = {"data": [HOOK, HOOK | {"enabled": False, "disabled_reason": "it answered 410 Gone"}]}
    code, shown = said("list")
    assert code == 0 and "410" in shown and "batch.*" in shown
    assert json.loads(said("list", "--json")[1]) == server.reply["data"]


def test_a_test_that_was_not_taken_is_a_failure_with_its_reason(server: Server) -> None:
    server.reply = {"delivered": False, "status": None, "error": "cannot connect", "took_ms": 5, "answer": ""}
    code, shown = said("test", "whk_1")
    assert code == 1 and "cannot connect" in shown
    server.reply = {"delivered": True, "status": 204, "error": None, "took_ms": 5, "answer": ""}
    code, shown = said("test", "whk_1")
    assert code == 0 and "204" in shown


def test_deliveries_are_asked_for_by_state_and_event_and_show_their_last_attempt(server: Server) -> None:
    server.reply = {"data": [DELIVERY], "has_more": False, "last_id": "dlv_1"}
    code, shown = said("deliveries", "--status", "pending", "--event", "batch.failed", "--limit", "5")
    assert code == 0 and "dlv_1" in shown and "500" in shown
    assert server.asked[0].params == {"status": "pending", "event": "batch.failed", "limit": "5"}
    assert said("deliveries", "--status", "lost")[0] == 2


def test_a_webhook_is_changed_by_what_is_named_and_by_nothing_else(server: Server) -> None:
    words = ["webhooks", "set", "whk_1", "--enable", "--event", "batch.failed", "--event", "tenant.*"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (call,) = server.asked
    assert (call.method, call.path) == ("PATCH", "/v1/webhooks/whk_1")
    assert call.json == {"events": ["batch.failed", "tenant.*"], "enabled": True}
    assert CliRunner().invoke(app, ["webhooks", "set", "whk_1"]).exit_code == 2
    assert len(server.asked) == 1

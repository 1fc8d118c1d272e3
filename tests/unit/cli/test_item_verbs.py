"""What `batchwright items` says of each item."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest

from app.cli import item_verbs
from app.cli.item_verbs import Shown, what_happened
from app.client.calls import HttpCall
from workers.core.history import History
from workers.core.messages import Attempt, ItemError, Result
from workers.core.wire import item_object, pending_object


def shown(*attempts: Attempt, **more: Any) -> dict[str, Any]:
    return item_object(Result(7, "c7", "call", attempts=attempts, **more), "beta")


BUSY = Attempt(1.0, "acme", "provider_unavailable", 503, "retry", 1.0)
LAST = Attempt(2.0, "acme", "provider_unavailable", 503, "hand_over")
LATE = Attempt(3.0, "beta", "timeout", None, "give_up")


class Server:
    """One page of items, and what was asked for."""

    def __init__(self, *rows: dict[str, Any], has_more: bool) -> None:
        self.page = {"data": list(rows), "has_more": has_more, "next_cursor": "cjo3" if has_more else None}
        self.asked: list[Any] = []

    def call(self, call: HttpCall[Any]) -> dict[str, Any]:
        self.asked.append((call.path, call.params))
        return self.page


def test_failed_tries_that_are_alike_are_said_as_one() -> None:
    row = shown(BUSY, BUSY, LAST, LATE, waited_s={"retry": 2.0, "limit": 65.0, "paused": 0.04})
    assert what_happened(row) == (
        "acme: 3 provider_unavailable, handed over; beta: 1 timeout, given up; 1:05 min for the rate limit"
    )


def test_an_item_that_never_tried_says_its_error_and_a_plain_one_nothing() -> None:
    assert what_happened(shown(error=ItemError("batch_expired", "late"))) == "batch_expired"
    assert what_happened(shown(status_code=200)) == ""


def test_a_page_shows_its_items_and_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(shown(BUSY, LATE, status_code=503), has_more=True)
    monkeypatch.setattr(item_verbs, "load", lambda: None)
    monkeypatch.setattr(item_verbs, "named_server", lambda settings: nullcontext(server))
    failed = Shown(status="failed", limit=1, after=6)
    assert item_verbs.items("batch_1", failed, as_json=False) == 0
    said = capsys.readouterr()
    assert "failed (503)" in said.out and "more with --cursor cjo3" in said.err
    assert server.asked == [("/v1/batches/batch_1/items", {"status": "failed", "after": "6", "limit": "1"})]
    item_verbs.items("batch_1", Shown(limit=1), as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["attempts"][0]["code"] == "provider_unavailable"


def test_nothing_to_show_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(item_verbs, "load", lambda: None)
    monkeypatch.setattr(item_verbs, "named_server", lambda settings: nullcontext(Server(has_more=False)))
    assert item_verbs.items("batch_1", Shown(limit=1), as_json=False) == 0
    assert capsys.readouterr().err == "no items\n"


def test_a_pending_item_says_in_what_state_it_is_and_for_what_it_rests(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History(calls=2, attempts=(BUSY,), waited_s={"retry": 3.0})
    row = pending_object(line=7, state="parked", reason="limit", until=9.0, provider="acme", history=history)
    server = Server(row, has_more=False)
    monkeypatch.setattr(item_verbs, "load", lambda: None)
    monkeypatch.setattr(item_verbs, "named_server", lambda settings: nullcontext(server))
    assert item_verbs.items("batch_1", Shown(status="pending"), as_json=False) == 0
    said = capsys.readouterr().out
    assert "parked, for the rate limit" in said and "acme: 1 provider_unavailable" in said


def test_one_item_is_shown_with_its_request_and_its_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(has_more=False)
    server.page = shown(BUSY, status_code=503) | {"request": {"custom_id": "c7"}, "result": {"error": None}}
    monkeypatch.setattr(item_verbs, "load", lambda: None)
    monkeypatch.setattr(item_verbs, "named_server", lambda settings: nullcontext(server))
    assert item_verbs.item("batch_1", 7, as_json=False) == 0
    said = capsys.readouterr().out
    assert '{"custom_id": "c7"}' in said and '{"error": null}' in said

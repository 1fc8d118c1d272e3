"""What `batchwright items` says of each item."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest

from app.cli import item_verbs
from app.cli.item_verbs import what_happened
from workers.core.messages import Attempt, ItemError, Result
from workers.core.wire import item_object


def shown(*attempts: Attempt, **more: Any) -> dict[str, Any]:
    return item_object(Result(7, "c7", "call", attempts=attempts, **more), "beta")


BUSY = Attempt(1.0, "acme", "provider_unavailable", 503, "retry", 1.0)
LAST = Attempt(2.0, "acme", "provider_unavailable", 503, "hand_over")
LATE = Attempt(3.0, "beta", "timeout", None, "give_up")


class Server:
    """One page of items, and what was asked for."""

    def __init__(self, *rows: dict[str, Any], has_more: bool) -> None:
        self.page = {"data": list(rows), "has_more": has_more}
        self.asked: list[Any] = []

    def items(self, batch_id: str, **asked: Any) -> dict[str, Any]:
        self.asked.append((batch_id, asked))
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
    assert item_verbs.items("batch_1", failed=True, limit=1, after=6, as_json=False) == 0
    said = capsys.readouterr()
    assert "failed (503)" in said.out and "more with --after 7" in said.err
    assert server.asked == [("batch_1", {"status": "failed", "after": 6, "limit": 1})]
    item_verbs.items("batch_1", failed=False, limit=1, after=0, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["attempts"][0]["code"] == "provider_unavailable"


def test_nothing_to_show_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(item_verbs, "load", lambda: None)
    monkeypatch.setattr(item_verbs, "named_server", lambda settings: nullcontext(Server(has_more=False)))
    assert item_verbs.items("batch_1", failed=False, limit=1, after=0, as_json=False) == 0
    assert capsys.readouterr().err == "no items\n"

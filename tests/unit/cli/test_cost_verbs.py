"""The tables of `cost` say what was spent and saved, and what nobody knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli import cost_verbs, costing
from app.cli.errors import CliError

ROW = {
    "day": "2026-11-21",
    "provider": "acme",
    "model": None,
    "batches": 2,
    "items": 9,
    "calls": 7,
    "cached": 1,
    "coalesced": 1,
    "input_tokens": 1200,
    "output_tokens": 30,
    "cost_usd": 1.5,
    "saved_usd": None,
}


def served(monkeypatch: pytest.MonkeyPatch, reply: Mapping[str, Any]) -> list[Any]:
    """A server that gives this reply; what it was asked."""
    asked: list[Any] = []

    def call(http_call: Any) -> Mapping[str, Any]:
        asked.append((http_call.path, dict(http_call.params)))
        return reply

    @contextmanager
    def server(_: object) -> Iterator[Any]:
        yield SimpleNamespace(call=call)

    monkeypatch.setattr(cost_verbs, "named_server", server)
    monkeypatch.setattr(cost_verbs, "load", lambda: None)
    return asked


def test_the_days_are_shown_by_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = served(monkeypatch, {"cost_usd": 1.5, "saved_usd": None, "data": [ROW]})
    assert cost_verbs.of_days(days=7, by="model", as_json=False) == 0
    out = capsys.readouterr().out
    assert asked == [("/v1/costs", {"days": "7", "by": "model"})]
    assert "unknown" in out and "acme" in out and "$1.50" in out
    assert out.splitlines()[-1] == "$1.50, unknown saved in 7 days"


def test_an_unknown_price_leaves_a_sum_that_is_at_least_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, {"cost_usd": None, "saved_usd": 0, "data": [ROW, ROW | {"cost_usd": None}]})
    cost_verbs.of_days(days=1, by="day", as_json=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "at least $1.50, some prices are unknown, in 1 day"


def test_one_batch_says_that_it_still_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = {"final": False, "status": "in_progress", "cost_usd": 1.5, "saved_usd": 0.5, "data": [ROW]}
    asked = served(monkeypatch, reply)
    assert cost_verbs.of_batch("batch_1", as_json=False) == 0
    said = capsys.readouterr()
    assert asked == [("/v1/batches/batch_1/costs", {})]
    assert "so far" in said.err and said.out.splitlines()[-1] == "$1.50, $0.5000 saved in all"
    cost_verbs.of_batch("batch_1", as_json=True)
    assert json.loads(capsys.readouterr().out) == reply


def test_what_is_said_of_days_is_not_lost_on_one_batch() -> None:
    with pytest.raises(CliError):
        costing.cost("batch_1", days=3)

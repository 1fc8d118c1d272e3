"""`stats` and `alerts` say what was counted, what fires, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli import figures_verbs

pytestmark = pytest.mark.fast
LATENCY = {
    "count": 10,
    "min_ms": 0.5,
    "avg_ms": 2.0,
    "max_ms": 2500.0,
    "p50_ms": 1.5,
    "p95_ms": 9.0,
    "p99_ms": 12.0,
}
REQUESTS = {
    "requests": 1200,
    "requests_per_minute": 20.0,
    "refused": 3,
    "errors": 12,
    "error_rate": 0.01,
    "status_codes": {"200": 1185, "404": 3, "500": 12},
    "latency": LATENCY,
}
RECORDED = {"completed": 7, "failed": 1, "calls": 8, "excess_calls": 2, "cost_usd": 1.5, "saved_usd": None}
STATS = {
    "enabled": True,
    "window": "1h",
    "requests": REQUESTS,
    "endpoints": [REQUESTS | {"method": "GET", "endpoint": "/v1/batches"}],
    "providers": [
        {
            "provider": "acme",
            "calls": 9,
            "outcomes": {"ok": 7, "timeout": 2},
            "latency": LATENCY,
            "limiter_waits": {"limit": {"times": 4, "seconds": 2.5}},
        }
    ],
    "batches": {"total": RECORDED, "by_provider": {}, "in_window": None, "in_window_since": None},
    "now": {
        "calls_in_flight": 3,
        "workers": 1,
        "queues": [
            {
                "provider": "acme",
                "messages": None,
                "queued": 5,
                "dispatched": 1,
                "leased": 2,
                "oldest_due_s": 75.0,
                "calls_in_flight": 3,
            },
            {
                "provider": "idle",
                "messages": 0,
                "queued": 0,
                "dispatched": 0,
                "leased": 0,
                "oldest_due_s": None,
                "calls_in_flight": 0,
            },
        ],
    },
}
ALERT = {
    "state": "firing",
    "rule": "api_slow",
    "subject": None,
    "value": 7.91,
    "bad": "over",
    "threshold": 5.0,
    "since": 1_795_300_000,
    "resolved_at": None,
    "helps": "Look \x1b[31mthere.",
    "runbook": "docs/runbook.md#api_slow",
}


def served(monkeypatch: pytest.MonkeyPatch, reply: Mapping[str, Any]) -> list[Any]:
    """A server that gives this reply; what it was asked."""
    asked: list[Any] = []

    def call(http_call: Any) -> Any:
        asked.append((http_call.path, dict(http_call.params)))
        return http_call.read(reply)

    @contextmanager
    def server(_: object) -> Iterator[Any]:
        yield SimpleNamespace(call=call)

    monkeypatch.setattr(figures_verbs, "named_server", server)
    monkeypatch.setattr(figures_verbs, "load", lambda: None)
    return asked


@pytest.mark.parametrize(("since", "said"), [(1_795_300_030, ", in 1h"), (1_795_303_000, ", since 2026-11-")])
def test_what_a_young_installation_counts_from_a_later_moment_is_not_called_an_hour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], since: int, said: str
) -> None:
    batches = {"total": RECORDED, "by_provider": {}, "in_window": RECORDED, "in_window_since": since}
    served(monkeypatch, STATS | {"since": 1_795_300_000, "batches": batches})
    figures_verbs.stats(window="1h", as_json=False)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("recorded"))
    assert said in line


def test_figures_are_shown_in_tables_and_summed_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = served(monkeypatch, STATS)
    assert figures_verbs.stats(window="1h", as_json=False) == 0
    out = capsys.readouterr().out
    assert asked == [("/analytics/stats", {"window": "1h"})]
    for text in ("GET /v1/batches", "1,200", "1.5 ms", "2.5 s", "acme", "2 timeout", "1:15 min"):
        assert text in out
    assert "1,200 in 1h, 20 a minute, 1.0% failed, p95 9 ms" in out
    assert "7 answers, 1 failed, 8 calls, 2 perhaps made twice, $1.50, unknown saved" in out
    assert "idle" not in out


def test_a_server_that_keeps_nothing_is_said_to_do_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, STATS | {"enabled": False, "endpoints": [], "providers": []})
    figures_verbs.stats(window="7d", as_json=False)
    assert "monitoring.enabled is off" in capsys.readouterr().err


def test_errors_are_listed_by_code_with_their_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = {"first_seen": 1_795_300_000, "last_seen": 1_795_300_060, "count": 3}
    rows = [
        {"kind": "request", "code": "500", "method": "GET", "endpoint": "/x", "provider": None, **seen},
        {"kind": "call", "code": "timeout", "method": None, "endpoint": None, "provider": "acme", **seen},
        {"kind": "item", "code": "http_400", "method": None, "endpoint": None, "provider": None, **seen},
    ]
    asked = served(monkeypatch, {"enabled": True, "data": rows, "has_more": True})
    assert figures_verbs.errors(window="24h", limit=3, as_json=False) == 0
    said = capsys.readouterr()
    assert asked == [("/analytics/errors", {"window": "24h", "limit": "3"})]
    assert all(text in said.out for text in ("GET /x", "timeout", "acme", "http_400", "batches"))
    assert "--limit" in said.err
    served(monkeypatch, {"enabled": True, "data": [], "has_more": False})
    figures_verbs.errors(window="24h", limit=3, as_json=False)
    assert capsys.readouterr().out == "no errors in 24h\n"


def test_an_alert_that_fires_says_what_to_do_and_ends_the_command_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    over = ALERT | {
        "state": "resolved",
        "resolved_at": 1_795_300_090,
        "subject": "acme",
        "rule": "provider_failing",
    }
    asked = served(monkeypatch, {"enabled": True, "data": [ALERT, over], "rules": []})
    assert figures_verbs.alerts(state="all", limit=20, as_json=False) == 1
    out = capsys.readouterr().out
    assert asked == [("/analytics/alerts", {"state": "all", "limit": "20"})]
    assert "7.91 (over 5)" in out and "provider_failing acme" in out and "1:30 min" in out
    assert out.splitlines()[-1] == "api_slow: Look  [31mthere. (docs/runbook.md#api_slow)"
    served(monkeypatch, {"enabled": True, "data": [over], "rules": []})
    assert figures_verbs.alerts(state="all", limit=20, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["data"] == [over]

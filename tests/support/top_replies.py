"""Replies of GET /v1/top as a server gives them, for tests of what shows them."""

from __future__ import annotations

from typing import Any


def batch(number: int = 1, **changed: Any) -> dict[str, Any]:
    there = {
        "id": f"batch_{number:032x}",
        "name": f"words-{number}.jsonl",
        "tenant": "default",
        "model": "sim-small",
        "status": "in_progress",
        "paused": False,
        "created_at": 1_700_000_000,
        "total": 1000,
        "done": 500,
        "failed": 0,
        "cached": 100,
        "coalesced": 10,
        "cost_usd": 0.5,
        "per_second": 12.5,
        "eta_s": 40,
        "waiting_for": [],
    }
    return there | changed


def provider(**changed: Any) -> dict[str, Any]:
    limits = {"requests_per_minute": 600, "tokens_per_minute": None, "concurrency": None, "wait_s": 0.0}
    there = {
        "name": "acme",
        "shards_waiting": 3,
        "shards_running": 2,
        "requests_left": 900,
        "oldest_due_s": 4.0,
        "in_flight": 12,
        "slots": 64,
        "calls_per_second": 5.0,
        "tokens_per_minute": 12_000,
        "p50_s": 0.25,
        "p95_s": 1.5,
        "limits": limits,
        "rests_s": 0.0,
        "breaker": "closed",
        "breaker_opens_in_s": None,
        "held_since": None,
    }
    return there | changed


def worker(number: int = 1, **changed: Any) -> dict[str, Any]:
    there = {
        "name": f"worker-{number}",
        "alive": True,
        "age_s": 1.0,
        "version": "0.1.0",
        "started_at": 1_700_000_000.0,
        "calls": 12,
        "slots": 64,
        "memory_bytes": 120_000_000,
        "cpu_percent": 45.0,
        "loop_lag_s": 0.002,
        "buffer_results": 3,
        "buffer_oldest_s": 0.05,
    }
    return there | changed


def reply(batches: int = 2, providers: int = 1, workers: int = 1, **changed: Any) -> dict[str, Any]:
    there = {
        "object": "top",
        "at": 1_700_000_600.0,
        "version": "0.1.0",
        "batches_running": batches,
        "batches": [batch(number) for number in range(batches)],
        "providers": [provider(name=f"acme-{number}") for number in range(providers)],
        "workers": [worker(number) for number in range(workers)],
        "savings": {
            "requests": 1000,
            "failed": 2,
            "cached": 300,
            "coalesced": 100,
            "calls": 598,
            "excess_calls": 1,
            "hit_rate": 0.4,
            "cost_usd": 1.25,
            "saved_usd": 0.5,
        },
        "alerts": [],
        "away": [],
    }
    return there | changed

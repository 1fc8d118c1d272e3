"""Whoever counts comes to the same: batch objects, `/v1/costs`, `/metrics`, `/analytics`, and the simulator's log.

The run has what makes counting hard: requests that stand twice in a file, a file that is asked again, refusals, calls
that fail at first, a batch that is cancelled in mid-run, two tenants; and once a worker that is killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.arena import Arena
from tests.chaos.client import Tenant
from tests.chaos.oracle import Expected, Finding, judge
from tests.chaos.rules import Rules
from tests.support.eventually import eventually
from workers import metrics
from workers import metrics_kept as kept
from workers.metric import Metric

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
Counts = dict[str, float | None]
PRICES = '[prices."sim-*"]\ninput_usd = 100\noutput_usd = 300\n'
# By what a request's number leaves when divided by `PERIOD`. None is refused as too many where a worker is killed: a
# lane that has been cut down waits 15 s for the places of the dead.
FAULTS = {7: "[[sim:status=500;times=1]]", 11: "[[sim:status=400]]"}
TOO_MANY = "[[sim:status=429;retry-after-ms=50;times=1]]"
PERIOD = 20
# What a worker calls the simulator's answers.
OUTCOMES = {200: "ok", 400: "refused", 429: "rate_limited", 500: "overloaded"}
REFUSED_FOR_NOW = (429, 500)
# What a batch object has and /v1/costs has not.
_OF_BATCHES_ALONE = frozenset({"completed", "never_ran", "excess_calls"})
EXPECTED = Expected(errors=frozenset({"invalid_request_error", "batch_cancelled"}), recovers=False)
# What is recorded is looked at anew when it is five seconds old, and a process tells of itself every three.
_TOLD_S = 20.0


def rules_of(seed: int, directory: Path) -> Rules:
    """Calls that take long enough to be cut off, at a price."""
    config = directory / "batchwright.toml"
    config.write_text(PRICES, encoding="utf-8")
    told = {"BATCHWRIGHT_CONFIG": str(config), "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8"}
    return Rules(seed, latency_ms=100, environ=told)


def prompt_of(name: str, number: int) -> str:
    """Each request stands twice; some meet a fault."""
    return f"Remark {number // 2} of {name}. {FAULTS.get(number // 2 % PERIOD, '')}"


def worked(arena: Arena, items: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Two tenants, one of which asks more and takes it back in mid-run; then one asks its file again."""
    one, two = arena.tenants.values()
    taken_back = two.submit(items // 4)
    for tenant in (one, two):
        tenant.submit(items // 4, prompt=partial(prompt_of, tenant.name))
    arena.recorded_reaches(items // 10)
    meanwhile()
    two.insist("POST", f"/v1/batches/{taken_back.id}/cancel")
    arena.rest()
    one.submit(items // 4, prompt=partial(prompt_of, one.name))
    arena.rest()


# ---------------------------------------------------------------- who counts


def by_batches(arena: Arena) -> Counts:
    """The sum of the batch objects."""
    return added(
        _of_batch(tenant.batch(batch.id)) for tenant in arena.tenants.values() for batch in tenant.submitted
    )


def _of_batch(shown: Mapping[str, Any]) -> Counts:
    ours, counts = shown["batchwright"], shown["request_counts"]
    names = ("never_ran", "cached", "coalesced", "calls", "excess_calls", "cost_usd", "saved_usd")
    tokens = {name: shown["usage"][name] for name in ("input_tokens", "output_tokens")}
    return {
        "completed": counts["completed"],
        "failed": counts["failed"],
        **tokens,
        **{each: ours[each] for each in names},
    }


def by_costs(arena: Arena) -> Counts:
    """The sum of what /v1/costs shows to each tenant."""
    names = ("failed", "cached", "coalesced", "calls", "input_tokens", "output_tokens")
    return added(
        {name: row[name] for name in (*names, "cost_usd", "saved_usd")}
        for tenant in arena.tenants.values()
        for row in tenant.insist("GET", "/v1/costs")["data"]
    )


def by_analytics(arena: Arena) -> Counts:
    """What /analytics says was recorded."""
    shown = operator(arena).insist("GET", "/analytics/stats")["batches"]
    total: Counts = shown["total"]
    assert shown["by_provider"].keys() == {"sim"}, "every item was the simulator's"
    assert shown["by_provider"]["sim"] == total
    return total


def by_metrics(arena: Arena) -> Counts:
    """What /metrics says was recorded."""
    page = Page(arena)
    return {
        **{name: page.sum(kept.ITEMS, outcome=name) for name in ("completed", "failed", "never_ran")},
        "cached": page.sum(kept.ITEMS_SHARED, source="cache"),
        "coalesced": page.sum(kept.ITEMS_SHARED, source="coalesced"),
        "calls": page.sum(kept.LLM_REQUESTS),
        "excess_calls": page.sum(kept.LLM_EXCESS),
        "input_tokens": page.sum(kept.LLM_TOKENS, kind="input"),
        "output_tokens": page.sum(kept.LLM_TOKENS, kind="output"),
        "cost_usd": page.sum(kept.LLM_COST),
        "saved_usd": page.sum(kept.LLM_SAVED),
    }


def by_processes(arena: Arena) -> dict[str, float]:
    """Calls by outcome, as the worker processes have timed them."""
    page = Page(arena)
    return {each: page.sum(metrics.LLM_SECONDS, "_count", outcome=each) for each in OUTCOMES.values()}


def by_minutes(arena: Arena) -> dict[str, float]:
    """The same, as analytics keep it."""
    rows = operator(arena).insist("GET", "/analytics/stats")["providers"]
    return {outcome: number for row in rows for outcome, number in row["outcomes"].items()}


def refused_for_now(arena: Arena) -> int:
    """Attempts of all items that were refused with a word to come again."""
    items = (
        item
        for tenant in arena.tenants.values()
        for batch in tenant.submitted
        for item in tenant.insist("GET", f"/v1/batches/{batch.id}/items?limit=1000")["data"]
    )
    return sum(attempt["status"] in REFUSED_FOR_NOW for item in items for attempt in item["attempts"])


class Page:
    """`/metrics` as it is now."""

    def __init__(self, arena: Arena) -> None:
        answer = operator(arena).ask("GET", "/metrics")
        assert answer.status_code == 200
        families = text_string_to_metric_families(answer.text)
        self._samples = [sample for family in families for sample in family.samples]

    def sum(self, metric: Metric, suffix: str = "", **labels: str) -> float:
        """The series of a metric that have these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == f"{metric.name}{suffix}" and labels.items() <= sample.labels.items()
        )


def operator(arena: Arena) -> Tenant:
    """Who may see figures of the installation."""
    return Tenant("operator", arena.state.api_key, arena.state.api_url, arena.rules.seed)


def added(all_: Iterable[Counts]) -> Counts:
    """The sum; None where one of them does not know."""
    out: Counts = {}
    for counts in all_:
        for name, value in counts.items():
            before = out.get(name, 0)
            out[name] = None if value is None or before is None else before + value
    return out


def agree(arena: Arena) -> Counts:
    """What all of them come to; fails where one comes to something else."""
    batches = by_batches(arena)
    assert by_costs(arena) == pytest.approx(_without(batches, _OF_BATCHES_ALONE), abs=1e-5)
    assert by_analytics(arena) == pytest.approx(batches, abs=1e-5)
    wanted = pytest.approx(batches, abs=1e-5)
    eventually(lambda: by_metrics(arena) == wanted, _TOLD_S, what=lambda: (by_metrics(arena), batches))
    assert sum(batches[name] or 0 for name in ("completed", "failed", "never_ran")) == arena.accepted()
    # How much a cancel finds undone is a matter of speed: never_ran may be 0.
    for name in ("completed", "failed", "cached", "coalesced", "calls", "output_tokens"):
        assert batches[name], f"the run had nothing {name}, so nobody could miscount it"
    assert batches["cost_usd"] and batches["saved_usd"]
    return batches


def _without(counts: Counts, names: Iterable[str]) -> Counts:
    return {name: value for name, value in counts.items() if name not in set(names)}


def test_without_a_kill_everybody_counts_every_call_as_the_simulator_does(
    arena_of: Opens, seed: int, items: int, tmp_path: Path
) -> None:
    arena = arena_of(rules_of(seed, tmp_path))
    worked(arena, items)
    arena.tenants["two"].submit(4, prompt=lambda number: f"Remark {number} that is too many. {TOO_MANY}")
    arena.rest()
    assert not judge(arena, EXPECTED).broken
    # Then all agree,
    counts = agree(arena)
    # to the last call, whether they have recorded it or seen it.
    seen = Counter(call["status"] for call in arena.calls())
    assert counts["calls"] == seen.total() and counts["excess_calls"] == 0
    wanted = {OUTCOMES[status]: number for status, number in seen.items()}
    assert wanted.keys() == set(OUTCOMES.values())
    eventually(lambda: by_processes(arena) == wanted, _TOLD_S, what=lambda: (by_processes(arena), wanted))
    eventually(lambda: by_minutes(arena) == wanted, _TOLD_S, what=lambda: (by_minutes(arena), wanted))


@pytest.mark.quick
@pytest.mark.fault("3", "kill -9 a worker, and count")
def test_after_a_kill_everybody_counts_the_same_and_no_call_is_missing(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    arena = arena_of(rules_of(seed, tmp_path))
    pid = arena.pid("worker-1")
    worked(arena, items, lambda: arena.hit("kill -9 worker-1", lambda: arena.kill("worker-1")))
    arena.restarted("worker-1", pid)
    verdict(arena, EXPECTED)
    # Then all agree, and the provider saw no call that neither brought a result nor counts as excess.
    counts = agree(arena)
    calls, excess = counts["calls"] or 0, counts["excess_calls"] or 0
    # What it refused a worker that was killed before it could tell is gone with it: an attempt costs nothing.
    seen = Counter(call["status"] in REFUSED_FOR_NOW for call in arena.calls())
    told = refused_for_now(arena)
    assert told <= seen[True]
    assert calls - told <= seen[False] <= calls - told + excess

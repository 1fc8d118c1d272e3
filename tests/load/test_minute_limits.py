"""Requests and tokens a minute over four worker processes: never over the limit, and used while work remains.

The simulator sets no limit here and sends no header: what is kept, our settings keep. Its log says what it was asked
for and what that truly cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.load.crew import (
    began_within,
    busiest,
    configure,
    limits_of,
    load_site,
    of_simulator,
    show,
    started_workers,
    until_called_at,
)
from tests.support.batches import chat_line
from tests.support.servers import TestServers
from workers.core.rate import BURST_SHARE

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
REQUESTS, TOKENS = 600, 100_000
WINDOW_S = 60.0
STEADY_S = 150.0  # after a first minute
ITEMS = 1_250  # of each of two batches: more than any limit lets through meanwhile


@dataclass(frozen=True)
class Kind:
    """Prompts of a kind: which limit they meet first, and how wrong their estimates are."""

    text: str
    max_tokens: int | None
    meets: str


KINDS = {
    "requests": Kind("What is the number {n}?", 50, "requests"),
    # Our estimate counts words, the simulator bytes.
    "tokens, estimated twice too high": Kind("a b " * 370 + "{n}", 40, "tokens"),
    # Nothing caps the answer, and it is longer than what is assumed then.
    "tokens, estimated twice too low": Kind("Tell of {n} [[sim:huge=2400]]", None, "tokens"),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_no_minute_holds_more_than_the_limit_and_the_burst_and_nearly_all_of_it_is_used(
    servers: TestServers, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name]
    cap: dict[str, Any] = {"max_tokens": kind.max_tokens} if kind.max_tokens else {}
    lines = [chat_line(f"c{n}", kind.text.format(n=n), **cap) for n in range(2 * ITEMS)]
    with load_site(servers, tmp_path, "--latency-ms", "200") as site:
        limits = limits_of("sim", requests_per_minute=REQUESTS, tokens_per_minute=TOKENS)
        with started_workers(site, configure(site, limits)):
            batch_ids = [site.submit(lines[:ITEMS]), site.submit(lines[ITEMS:])]
            since = until_called_at(site, 1.0, 20.0)
            until = since + WINDOW_S + STEADY_S
            until_called_at(site, until, WINDOW_S + STEADY_S + 20)
            left = [site.stores.state(batch_id)["status"] for batch_id in batch_ids]
        calls = of_simulator(site.simulator.calls())
        assert "in_progress" in left, "work remained"
        steady = began_within(calls, since + WINDOW_S, until)
        used = {
            "requests": len(steady) * 60 / STEADY_S / REQUESTS,
            "tokens": sum(call.tokens for call in steady) * 60 / STEADY_S / TOKENS,
        }
        most_requests, most_tokens = busiest(calls, WINDOW_S), busiest(calls, WINDOW_S, tokens=True)
        shards = [doc for batch_id in batch_ids for doc in site.shards(batch_id)]
        show(
            f"limits: {name}",
            calls=len(calls),
            tokens_a_call=sum(call.tokens for call in calls) // len(calls),
            estimated_a_call=sum(doc["est_tokens"] for doc in shards) // len(lines),
            most_requests_in_60_s=f"{most_requests} of {REQUESTS} + {REQUESTS * BURST_SHARE:.0f}",
            most_tokens_in_60_s=f"{most_tokens:,} of {TOKENS:,} + {TOKENS * BURST_SHARE:,.0f}",
            requests_used=f"{used['requests']:.1%}",
            tokens_used=f"{used['tokens']:.1%}",
        )
        assert {call.status for call in calls} == {200}
        assert most_requests <= REQUESTS * (1 + BURST_SHARE)
        assert most_tokens <= TOKENS * (1 + BURST_SHARE)
        assert used[kind.meets] >= 0.95

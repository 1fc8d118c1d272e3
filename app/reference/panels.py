"""What Grafana's dashboard shows: rows of panels as data. dashboard.py makes the file of them.

A panel says its question as its title, what to look for as its description, and PromQL over names of
workers/metrics.py. `each` takes a series once, however many API processes show it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        lines: PromQL by its legend, in which `{{label}}` is filled in.
        unit: as Grafana names it.
        stat: one number instead of a course in time.
    """

    title: str
    means: str
    lines: dict[str, str]
    unit: str = "short"
    stat: bool = False
    stacked: bool = False


def each(series: str) -> str:
    """Each series once."""
    return f"max without (instance, job) ({series})"


def rate(name: str, by: str = "", where: str = "") -> str:
    """A counter's growth a second, summed."""
    summed = f" by ({by})" if by else ""
    return f"sum{summed} ({each(f'rate({name}{{{where}}}[$__rate_interval])')})"


def quantile(share: float, name: str, by: str, where: str = "") -> str:
    """A percentile of a histogram."""
    names = f"{by}, le" if by else "le"
    buckets = each(f"rate({name}_bucket{{{where}}}[$__rate_interval])")
    return f"histogram_quantile({share}, sum by ({names}) ({buckets}))"


_P = 'provider=~"$provider"'
_W = 'process=~"$process"'
ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it keeping up?": (
        Panel(
            "Items recorded a second",
            "Results by what became of them. It should be flat while work waits.",
            {"{{outcome}}": rate("batchwright_items_total", "outcome", _P)},
            stacked=True,
        ),
        Panel(
            "Shards that have not ended",
            "Queued shards wait for a slot, a limit or a breaker; leased ones are worked on.",
            {"{{provider}} {{status}}": f"sum by (provider, status) ({each(f'batchwright_shards{{{_P}}}')})"},
            stacked=True,
        ),
        Panel(
            "Oldest shard that may run",
            "How long it has waited. Growing for hours means too few workers or too low a limit.",
            {"{{provider}}": f"max by (provider) (batchwright_oldest_due_shard_seconds{{{_P}}})"},
            "s",
        ),
        Panel(
            "Messages in Celery's queues",
            "Nearly none even under load: a shard becomes a message when a slot is free.",
            {"{{queue}}": "max by (queue) (batchwright_queue_messages)"},
        ),
        Panel(
            "How long workers have a shard",
            "Half and 95 % of them.",
            {
                "p50 {{provider}}": quantile(0.5, "batchwright_shard_duration_seconds", "provider", _P),
                "p95 {{provider}}": quantile(0.95, "batchwright_shard_duration_seconds", "provider", _P),
            },
            "s",
        ),
        Panel(
            "Batches by status",
            "`validating` for long: no worker plans. `finalizing` for long: MongoDB is slow.",
            {"{{status}}": "max by (status) (batchwright_batches)"},
        ),
    ),
    "Providers": (
        Panel(
            "Calls a second by outcome",
            "ok, and the ways of failing. Many rate_limited: set the provider's limits.",
            {
                "{{provider}} {{outcome}}": rate(
                    "batchwright_llm_request_duration_seconds_count", "provider, outcome", _P
                )
            },
            "reqps",
            stacked=True,
        ),
        Panel(
            "How long answered calls take",
            "Half, 95 % and 99 % of them.",
            {
                f"p{share * 100:g} {{{{provider}}}}": quantile(
                    share,
                    "batchwright_llm_request_duration_seconds",
                    "provider",
                    f'{_P}, outcome="ok"',
                )
                for share in (0.5, 0.95, 0.99)
            },
            "s",
        ),
        Panel(
            "Calls in flight",
            "Under way in all processes.",
            {"{{provider}}": f"max by (provider) (batchwright_calls_in_flight{{{_P}}})"},
        ),
        Panel(
            "Models with an open breaker",
            "They are left alone; their work rests, or goes to another provider.",
            {"{{provider}}": f'max by (provider) (batchwright_breaker_lanes{{{_P}, state="open"}})'},
        ),
        Panel(
            "Failures without an answer",
            "By class of error; `cancelled` are ours.",
            {"{{provider}} {{error}}": rate("batchwright_client_failures_total", "provider, error", _P)},
            "reqps",
        ),
        Panel(
            "Bytes through the clients",
            "Bodies before compression.",
            {"{{provider}} {{direction}}": rate("batchwright_client_bytes_total", "provider, direction", _P)},
            "Bps",
        ),
    ),
    "Limits": (
        Panel(
            "What calls wait for",
            "Seconds of waiting a second, by reason. `limit` is yours, `paused` the provider's.",
            {
                "{{provider}} {{reason}}": rate(
                    "batchwright_limiter_wait_seconds_total", "provider, reason", _P
                )
            },
            "s",
            stacked=True,
        ),
        Panel(
            "Until the next call may start",
            "By the limit of requests or of tokens a minute; 0 where there is room.",
            {"{{provider}} {{kind}}": f"max by (provider, kind) (batchwright_limit_wait_seconds{{{_P}}})"},
            "s",
        ),
        Panel(
            "Left of the provider's own limit",
            "As its headers tell.",
            {"{{provider}} {{kind}}": f"max by (provider, kind) (batchwright_limit_left{{{_P}}})"},
        ),
    ),
    "Cache and savings": (
        Panel(
            "Answered without a call",
            "Share of the items recorded that came from the cache or were coalesced.",
            {
                "{{source}}": f"{rate('batchwright_items_shared_total', 'source', _P)} / "
                f"ignoring(source) group_left {rate('batchwright_items_total', '', _P)}"
            },
            "percentunit",
            stacked=True,
        ),
        Panel(
            "Look-ups in the cache",
            "Answers found, and not found.",
            {
                "hits": rate("batchwright_cache_hits_total"),
                "misses": rate("batchwright_cache_misses_total"),
            },
            "reqps",
        ),
        Panel(
            "Calls that may have been paid twice",
            "After crashes and broken connections; an upper bound.",
            {"{{provider}}": rate("batchwright_llm_excess_calls_total", "provider", _P)},
            "reqps",
        ),
    ),
    "Money": (
        Panel(
            "Dollars an hour",
            "By provider, where prices are known.",
            {"{{provider}}": f"3600 * ({rate('batchwright_llm_cost_usd_total', 'provider', _P)})"},
            "currencyUSD",
            stacked=True,
        ),
        Panel(
            "Saved an hour",
            "What cached and coalesced answers would have cost.",
            {"{{provider}}": f"3600 * ({rate('batchwright_llm_saved_usd_total', 'provider', _P)})"},
            "currencyUSD",
            stacked=True,
        ),
        Panel(
            "Tokens a minute",
            "Input and output; `cached` is part of input.",
            {"{{provider}} {{kind}}": f"60 * ({rate('batchwright_llm_tokens_total', 'provider, kind', _P)})"},
        ),
    ),
    "Workers": (
        Panel(
            "Workers that live",
            "Processes, by their last word.",
            {"workers": f"sum({each('batchwright_worker_up')})"},
            stat=True,
        ),
        Panel(
            "CPU",
            "Cores that a process keeps busy. A worker at 1 has no more to give: start another.",
            {"{{process}}": rate("batchwright_process_cpu_seconds_total", "process", _W)},
        ),
        Panel(
            "Memory",
            "Resident bytes of each process.",
            {"{{process}}": each(f"batchwright_process_resident_bytes{{{_W}}}")},
            "bytes",
        ),
        Panel(
            "Lateness of event loops",
            "Over a few hundredths of a second everything in that process is late.",
            {"{{process}}": each(f"batchwright_loop_lag_seconds{{{_W}}}")},
            "s",
        ),
        Panel(
            "Call slots in use",
            "Of those there are.",
            {
                "{{provider}}": f"sum by (provider) ({each(f'batchwright_call_slots_in_use{{{_P}}}')}) / "
                f"sum by (provider) ({each(f'batchwright_call_slots{{{_P}}}')})"
            },
            "percentunit",
        ),
        Panel(
            "Shards taken over from silent workers",
            "Each was a worker that died, hung or lost its database.",
            {"{{process}}": rate("batchwright_shards_rescued_total", "process", _W)},
        ),
    ),
    "API": (
        Panel(
            "Requests a second by status",
            "5xx are ours, 4xx the caller's.",
            {"{{status}}": rate("batchwright_requests_total", "status")},
            "reqps",
            stacked=True,
        ),
        Panel(
            "p95 by endpoint",
            "Streams of events last as long as somebody watches.",
            {"{{endpoint}}": quantile(0.95, "batchwright_request_duration_seconds", "endpoint")},
            "s",
        ),
        Panel(
            "Open streams",
            "Of events: SSE and WebSockets.",
            {"{{kind}}": f"sum by (kind) ({each('batchwright_streams_open')})"},
        ),
    ),
    "Servers": (
        Panel(
            "Round trips",
            "p95 of a ping with each beat.",
            {"{{dependency}}": quantile(0.95, "batchwright_dependency_round_trip_seconds", "dependency")},
            "s",
        ),
        Panel(
            "Recording",
            "How long MongoDB takes for a buffer, and how long the first answer has waited for it.",
            {
                "p95 of a write": quantile(0.95, "batchwright_record_flush_duration_seconds", ""),
                "oldest": f"max({each('batchwright_record_buffer_oldest_seconds')})",
            },
            "s",
        ),
        Panel(
            "MongoDB's disk",
            "Over 0.8 it warns, over 0.95 nothing new is taken in.",
            {"used": "max(batchwright_disk_used_ratio)"},
            "percentunit",
        ),
    ),
    "Webhooks and schedules": (
        Panel(
            "Attempts at webhooks",
            "By outcome; `failed` are tried again.",
            {"{{outcome}}": rate("batchwright_webhook_attempts_total", "outcome")},
            "reqps",
        ),
        Panel(
            "Runs of schedules",
            "By outcome, an hour.",
            {"{{outcome}}": f"3600 * ({rate('batchwright_schedule_runs_total', 'outcome')})"},
        ),
        Panel(
            "Alerts that fire",
            "Of the product's own rules; docs/runbook.md has a section for each.",
            {"{{rule}}": "max by (rule) (batchwright_alerts_firing) > 0"},
        ),
    ),
}

"""The names of metrics that stand in MongoDB and Redis: of the installation, whichever process is asked.

exposition.py fills them in; metrics.py has all others, and `ALL`.
"""

from __future__ import annotations

from typing import Final

from workers.metric import Metric, counter, gauge

# --- what is recorded: summed over all batches that ever ran, those of erased tenants too

ITEMS: Final = counter(
    "batchwright_items_total",
    "Items with a recorded result: completed, failed or never_ran; provider `none`: refused by us.",
    "provider",
    "outcome",
)
ITEMS_SHARED: Final = counter(
    "batchwright_items_shared_total",
    "Those of them that needed no call of their own: answered from the cache, or coalesced.",
    "provider",
    "source",
)
LLM_REQUESTS: Final = counter(
    "batchwright_llm_requests_total", "Calls made for recorded results.", "provider"
)
LLM_EXCESS: Final = counter(
    "batchwright_llm_excess_calls_total",
    "Calls that may have repeated one whose outcome was unknown, as batches show them: an upper bound.",
    "provider",
)
POSSIBLY_REPEATED: Final = counter(
    "batchwright_possibly_repeated_total",
    "Those of them that followed on a lost worker: it had so many calls under way without a result.",
    "provider",
)
ASKED_AGAIN: Final = counter(
    "batchwright_asked_again_total",
    "Calls made anew for an answer that did not match its schema.",
    "provider",
)
LLM_TOKENS: Final = counter(
    "batchwright_llm_tokens_total",
    "Tokens by kind: input and output; cached and cache_write are part of input, reasoning of output.",
    "provider",
    "kind",
)
LLM_COST: Final = counter(
    "batchwright_llm_cost_usd_total", "What the calls have cost, where the price is known.", "provider"
)
LLM_SAVED: Final = counter(
    "batchwright_llm_saved_usd_total", "What cached and coalesced answers would have cost.", "provider"
)
LLM_UNPRICED: Final = counter(
    "batchwright_llm_unpriced_total",
    "Answers whose price nobody knows: the cost is without them.",
    "provider",
)

# --- what stands now, in the whole installation

MONGODB_UP: Final = gauge(
    "batchwright_mongodb_up", "1 if MongoDB answered this scrape; without it only the asked process is shown."
)
CONTROL_REDIS_UP: Final = gauge(
    "batchwright_control_redis_up", "1 if the control Redis answered this scrape."
)
DISK_USED: Final = gauge(
    "batchwright_disk_used_ratio", "How full the disk of MongoDB is, 0 to 1, where its server tells."
)
SHARDS: Final = gauge(
    "batchwright_shards", "Shards that have not ended: queued, dispatched or leased.", "provider", "status"
)
OLDEST_DUE: Final = gauge(
    "batchwright_oldest_due_shard_seconds", "How long the first of the shards that may run waits.", "provider"
)
QUEUE_MESSAGES: Final = gauge("batchwright_queue_messages", "Celery messages that wait in a queue.", "queue")
CALLS_IN_FLIGHT: Final = gauge(
    "batchwright_calls_in_flight", "Calls under way in all processes, as the limiter knows.", "provider"
)
LIMIT_WAIT: Final = gauge(
    "batchwright_limit_wait_seconds",
    "Until the next call may start by the limit of requests or of tokens a minute.",
    "provider",
    "kind",
)
LIMIT_PAUSED: Final = gauge(
    "batchwright_limit_paused_seconds", "How long the provider still wants to be left alone.", "provider"
)
LIMIT_LEFT: Final = gauge(
    "batchwright_limit_left",
    "Requests or tokens left, where the provider's headers tell.",
    "provider",
    "kind",
)
LIMIT_SIZE: Final = gauge(
    "batchwright_limit_size", "Of so many, where the provider's headers tell.", "provider", "kind"
)
BREAKER_LANES: Final = gauge(
    "batchwright_breaker_lanes", "Models whose breaker is open, half-open or closed.", "provider", "state"
)
BATCHES: Final = gauge("batchwright_batches", "Batches there are, by status.", "status")
BATCHES_TODAY: Final = gauge("batchwright_batches_made_today", "Batches made since midnight, UTC.")
KEYS_TODAY: Final = gauge("batchwright_api_keys_active_today", "API keys used since midnight, UTC.")
TENANTS_TODAY: Final = gauge("batchwright_tenants_active_today", "Tenants whose keys were used since then.")
WEBHOOKS_WAITING: Final = gauge("batchwright_webhook_deliveries_waiting", "Deliveries still to be made.")
WEBHOOK_OLDEST: Final = gauge(
    "batchwright_webhook_oldest_waiting_seconds", "How long the first of them waits since its event."
)
ALERTS_FIRING: Final = gauge("batchwright_alerts_firing", "Alerts that fire, by the rule of config.", "rule")
BEAT_SILENT: Final = gauge(
    "batchwright_beat_silent_seconds", "How long ago a worker last did what beat asked for."
)

# In the order of the page.
KEPT: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))

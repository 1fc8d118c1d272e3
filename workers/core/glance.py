"""What goes on at this moment, as rows for a live view: batches, providers, workers, today's savings. Pure.

app/api/top.py gathers what store/glance.py, the beats and the limits say; rates come from earlier looks (`Paces`,
`Latencies`), so the first look has none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.core.histogram import Histogram, merged
from workers.core.lanes import LimitState, Rates
from workers.core.pace import Pace
from workers.core.pauses import Pause
from workers.core.states import BatchStatus, ShardStatus
from workers.core.tally import Tally, total

Doc = dict[str, Any]
# Looks further apart than this say nothing of this moment.
_WINDOW_S = 15.0
_LATENCY_WINDOW_S = 60.0
_DIGITS = 3


class Paces:
    """How fast numbers grow, each by its key, over the last seconds; what a look does not name is forgotten."""

    def __init__(self) -> None:
        self._paces: dict[Hashable, Pace] = {}
        self._before: dict[Hashable, int] = {}
        self._looked_s: float | None = None

    def look(self, now_s: float, done: Mapping[Hashable, int]) -> None:
        """Note the numbers at this moment of a clock that does not jump."""
        if self._looked_s is not None and now_s - self._looked_s > _WINDOW_S:
            self._paces.clear()
        self._looked_s = now_s
        self._before = {key: self._before.get(key, 0) + 1 if key in self._paces else 1 for key in done}
        self._paces = {key: self._paces.get(key) or Pace() for key in done}
        for key, number in done.items():
            self._paces[key].look(now_s, number)

    def per_second(self, key: Hashable) -> float | None:
        """Of one number; None before its second look."""
        return round(self._paces[key].per_second, _DIGITS) if self._before.get(key, 0) > 1 else None

    def sum_per_second(self, keys: Iterable[Hashable]) -> float | None:
        """Of several; None where none is known."""
        known = [rate for key in keys if (rate := self.per_second(key)) is not None]
        return round(sum(known), _DIGITS) if known else None


class Latencies:
    """How long calls took in the last minute, by provider; before there is one, since the processes began."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[tuple[Hashable, str], Histogram]]] = deque()

    def look(self, now_s: float, seen: Mapping[tuple[Hashable, str], Histogram]) -> dict[str, Histogram]:
        """Note what each process has counted since its start, by process and provider; gives what is new."""
        self._looks.append((now_s, seen))
        while len(self._looks) > 2 and self._looks[1][0] <= now_s - _LATENCY_WINDOW_S:
            self._looks.popleft()
        # Alone it is no beginning, and one from long ago is none of this minute.
        before = self._looks[0][1] if len(self._looks) > 1 and self._is_near(now_s) else {}
        new: dict[str, list[Histogram]] = {}
        for (process, provider), counted in seen.items():
            new.setdefault(provider, []).append(counted.since(before.get((process, provider), Histogram())))
        whole = {
            provider: merged(each for key, each in seen.items() if key[1] == provider) for provider in new
        }
        found = {provider: merged(parts) for provider, parts in new.items()}
        return {provider: each if each.count else whole[provider] for provider, each in found.items()}

    def _is_near(self, now_s: float) -> bool:
        return now_s - self._looks[0][0] <= 2 * _LATENCY_WINDOW_S


@dataclass(frozen=True, slots=True)
class Hands:
    """What all living processes have in hand for a provider: call slots in use, and those there are."""

    in_use: int = 0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class ProviderLook:
    """What a provider's row is made of. `limits` is None where the control Redis did not tell.

    Attributes:
        rows: the open shards of all batches there.
        calls_per_second, tokens_per_second: None before the second look.
    """

    name: str
    rows: Sequence[Mapping[str, Any]] = ()
    hands: Hands = field(default_factory=Hands)
    rates: Rates = field(default_factory=Rates)
    limits: LimitState | None = None
    held: Pause | None = None
    latency: Histogram = field(default_factory=Histogram)
    calls_per_second: float | None = None
    tokens_per_second: float | None = None


def batch_row(
    doc: Mapping[str, Any],
    name: str,
    done: Tally,
    per_second: float | None,
    reasons: Sequence[Mapping[str, Any]],
) -> Doc:
    """One batch. `reasons` as `/why` gives them, the one that holds most first."""
    status, size = str(doc["status"]), int(doc.get("total") or 0)
    paused = doc.get("paused_at") is not None and status == BatchStatus.IN_PROGRESS
    rest = max(0, size - done.recorded)
    moves = bool(per_second) and status == BatchStatus.IN_PROGRESS and not paused
    names = ("kind", "provider", "requests", "since", "until")
    return {
        "id": doc["_id"],
        "name": name,
        "tenant": doc["tenant"],
        "model": doc.get("model"),
        "status": status,
        "paused": paused,
        "created_at": int(doc["created_at"]),
        "total": size,
        "done": done.recorded,
        "failed": done.failed,
        "cached": done.cached,
        "coalesced": done.coalesced,
        "cost_usd": done.known_cost_usd,
        "per_second": per_second,
        "eta_s": round(rest / per_second) if moves and per_second else None,
        "waiting_for": [{each: why[each] for each in names} for why in reasons],
    }


def provider_row(look: ProviderLook, now: datetime) -> Doc:
    """One provider."""
    state = look.limits
    waiting = [row for row in look.rows if row["status"] != ShardStatus.LEASED]
    due = [row["next_at"] for row in waiting if row["next_at"] is not None and row["next_at"].year > 1970]
    oldest_s = max([(now - at).total_seconds() for at in due if at <= now], default=None)
    worst = (
        max((lane for lane in state.lanes), key=lambda lane: _BADNESS[lane.breaker], default=None)
        if state
        else None
    )
    p50_s, p95_s = (look.latency.percentile_s(share) for share in (0.5, 0.95))
    return {
        "name": look.name,
        "shards_waiting": sum(row["shards"] for row in waiting),
        "shards_running": sum(row["shards"] for row in look.rows) - sum(row["shards"] for row in waiting),
        "requests_left": sum(row["requests"] for row in look.rows),
        "oldest_due_s": None if oldest_s is None else round(oldest_s, 1),
        "in_flight": look.hands.in_use,
        "slots": look.hands.slots,
        "calls_per_second": look.calls_per_second,
        "tokens_per_minute": None if look.tokens_per_second is None else round(look.tokens_per_second * 60),
        "p50_s": None if p50_s is None else round(p50_s, _DIGITS + 1),
        "p95_s": None if p95_s is None else round(p95_s, _DIGITS + 1),
        "limits": {
            "requests_per_minute": look.rates.requests_per_minute,
            "tokens_per_minute": look.rates.tokens_per_minute,
            "concurrency": look.rates.concurrency,
            "wait_s": None if state is None else _s(max(state.request_wait_s, state.token_wait_s)),
        },
        "rests_s": None
        if state is None
        else _s(max([state.paused_s, *(lane.rests_s for lane in state.lanes)])),
        "breaker": None if state is None else worst.breaker if worst else "closed",
        "breaker_opens_in_s": _s(worst.opens_in_s) if worst and worst.breaker == "open" else None,
        "held_since": None if look.held is None else int(look.held.since),
    }


def savings_of(earlier: Mapping[str, Any], running: Iterable[Tally]) -> Doc:
    """Today's sums: those of batches made today as their documents keep them, and those that run, summed just now."""
    now = total(running)
    names = ("recorded", "never_ran", "failed", "cached", "coalesced", "calls", "excess")
    found: Doc = {name: int(earlier[name]) + getattr(now, name) for name in names}
    answered = found["recorded"] - found.pop("never_ran") - found["failed"]
    shared = found["cached"] + found["coalesced"]
    unpriced = earlier["unpriced"] + now.unpriced
    unsaved = earlier["saved_unpriced"] + now.saved_unpriced
    return {
        "requests": found.pop("recorded"),
        **{("excess_calls" if name == "excess" else name): number for name, number in found.items()},
        "hit_rate": round(shared / answered, 4) if answered > 0 else None,
        "cost_usd": None if unpriced else round(earlier["cost_usd"] + now.cost_usd, 6),
        "saved_usd": None if unsaved else round(earlier["saved_usd"] + now.saved_usd, 6),
    }


_BADNESS = {"closed": 0, "half-open": 1, "open": 2}


def _s(seconds: float) -> float:
    return round(max(0.0, seconds), 1)

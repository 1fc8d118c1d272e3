"""Why a batch does not move, in one sentence each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from workers.core.pauses import Pause, Standing, standing
from workers.core.progress import Waiting, waiting_for

pytestmark = pytest.mark.fast
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


def row(**changed: Any) -> dict[str, Any]:
    return {"provider": "acme", "status": "queued", "reason": None, "shards": 3, "next_at": NOW, **changed}


def asked(*rows: dict[str, Any], status: str = "in_progress", slots: int = 8, **batch: Any) -> list[Waiting]:
    doc = {"status": status, "ending": None, **batch}
    return waiting_for(doc, rows, {"acme": slots} if slots else {}, 1 if slots else 0, NOW)


def kinds(found: list[Waiting]) -> list[str]:
    return [waiting.kind for waiting in found]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_what_is_over_waits_for_nothing(status: str) -> None:
    assert asked(row(), status=status) == []


def test_work_in_hand_waits_for_nothing() -> None:
    assert asked(row(status="leased")) == []


def test_a_limit_is_named_with_its_end() -> None:
    then = NOW + timedelta(seconds=34)
    [waiting] = asked(row(reason="limit", next_at=then))
    assert waiting.kind == "limit"
    assert waiting.until == int(then.timestamp())
    assert "(next look in 34 s)" in waiting.text
    assert "providers.acme" in waiting.text


def test_money_in_other_hands_is_no_pause() -> None:
    [waiting] = asked(row(reason="budget", next_at=NOW + timedelta(seconds=3)))
    assert waiting.kind == "budget" and "nothing to do" in waiting.text


@pytest.mark.parametrize(
    ("reason", "kind", "said"),
    [
        ("limit", "limit", "raise the limits of providers.acme"),
        ("paused", "provider_paused", "'acme' asked for a rest"),
        ("model_paused", "model_paused", "other models go on"),
        ("revoked", "revoked", "An operator ended their task"),
        ("engine_error", "engine_error", "worker_crash"),
        ("concurrency", "concurrency", "no more calls at once"),
        ("breaker", "breaker", "providers.acme.fallback"),
        ("retry", "retry", "`batchwright doctor`"),
        ("backoff", "retry", "`batchwright doctor`"),
        ("budget", "budget", "batchwright resume {id} --max-cost-usd"),
        ("redis", "redis", "`batchwright doctor`"),
    ],
)
def test_whatever_a_shard_rests_for_is_said_with_its_beginning_its_end_and_what_helps(
    reason: str, kind: str, said: str
) -> None:
    since, then = NOW - timedelta(minutes=5), NOW + timedelta(seconds=34)
    [waiting] = asked(row(reason=reason, since=since, next_at=then))
    assert (waiting.kind, waiting.since, waiting.until) == (
        kind,
        int(since.timestamp()),
        int(then.timestamp()),
    )
    assert said in waiting.text and "(for 5 min, next look in 34 s)" in waiting.text


def test_a_rest_that_the_provider_asked_for_is_no_pause_of_the_batch() -> None:
    assert kinds(asked(row(reason="paused", next_at=NEVER))) == ["paused"]
    assert kinds(asked(row(reason="paused", next_at=NOW + timedelta(seconds=9)))) == ["provider_paused"]


@pytest.mark.parametrize(
    "reason", ["limit", "paused", "concurrency", "breaker", "retry", "backoff", "redis", "budget"]
)
def test_a_limit_that_is_over_leaves_waiting_for_a_slot(reason: str) -> None:
    [waiting] = asked(row(reason=reason, next_at=NOW - timedelta(seconds=1)))
    assert (waiting.kind, waiting.until) == ("queue", None)


@pytest.mark.parametrize("reason", ["lease_expired", "drain", "dependency"])
def test_other_reasons_are_passed_on(reason: str) -> None:
    assert kinds(asked(row(reason=reason))) == [reason]


def held(**pauses: str) -> Standing:
    since = (NOW - timedelta(minutes=5)).timestamp()
    return standing(Pause(kind, name, since, "default") for kind, name in pauses.items())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pauses", "kind", "provider", "way_out"),
    [
        ({"provider": "acme"}, "provider_held", "acme", "`batchwright resume --provider acme`"),
        ({"tenant": "t1"}, "tenant_held", None, "`batchwright resume --tenant t1`"),
    ],
)
def test_what_an_operator_has_paused_is_said_with_its_beginning_and_the_way_out(
    pauses: dict[str, str], kind: str, provider: str | None, way_out: str
) -> None:
    doc = {"status": "in_progress", "ending": None, "tenant": "t1"}
    rows = [row(), row(reason="held", shards=2), row(status="leased")]
    [waiting] = waiting_for(doc, rows, {}, 0, NOW, held(**pauses))
    assert (waiting.kind, waiting.provider, waiting.shards) == (kind, provider, 5)
    assert waiting.since == int((NOW - timedelta(minutes=5)).timestamp()) and waiting.until is None
    assert "(for 5 min)" in waiting.text and way_out in waiting.text


def test_a_pause_of_others_or_of_the_batch_itself_is_not_laid_to_the_operator() -> None:
    doc = {"status": "in_progress", "ending": None, "tenant": "t1"}
    [waiting] = waiting_for(doc, [row()], {"acme": 8}, 1, NOW, held(provider="other", tenant="t2"))
    assert waiting.kind == "queue"
    own = doc | {"paused_at": 1.0}
    [waiting] = waiting_for(own, [row(reason="paused", next_at=NEVER)], {}, 0, NOW, held(provider="acme"))
    assert waiting.kind == "paused"


def test_what_was_held_waits_for_a_slot_once_the_pause_is_over() -> None:
    assert kinds(asked(row(reason="held"))) == ["queue"]


def test_without_a_worker_every_other_reason_is_idle() -> None:
    [waiting] = asked(row(reason="limit", next_at=NOW + timedelta(hours=1)), slots=0)
    assert waiting.kind == "no_worker"
    assert "batchwright up" in waiting.text


def test_a_worker_that_serves_another_provider_is_said_so() -> None:
    doc = {"status": "in_progress", "ending": None}
    [waiting] = waiting_for(doc, [row()], {"other": 8}, 1, NOW)
    assert (waiting.kind, waiting.provider) == ("no_worker", "acme")
    assert "'acme'" in waiting.text


def test_a_pause_wins_over_a_missing_worker() -> None:
    """Starting workers would not help."""
    assert kinds(asked(row(reason="paused", next_at=NEVER), slots=0)) == ["paused"]


def test_shards_that_are_not_open_yet_belong_to_planning() -> None:
    assert kinds(asked(row(next_at=NEVER))) == ["planning"]


def test_dispatched_shards_wait_in_the_queue_with_the_others() -> None:
    [waiting] = asked(row(), row(status="dispatched", shards=2))
    assert (waiting.kind, waiting.shards) == ("queue", 5)
    assert "one of the 8 worker slots" in waiting.text


def test_the_reason_that_holds_most_shards_comes_first_and_the_soonest_end_counts() -> None:
    soon, late = NOW + timedelta(seconds=5), NOW + timedelta(seconds=500)
    found = asked(
        row(shards=1),
        row(reason="retry", shards=2, since=NOW, next_at=late),
        row(reason="retry", status="dispatched", shards=2, since=NOW - timedelta(seconds=9), next_at=soon),
    )
    assert kinds(found) == ["retry", "queue"]
    assert (found[0].shards, found[0].until) == (4, int(soon.timestamp()))
    assert found[0].since == int(NOW.timestamp()) - 9, "the longest rest counts"


@pytest.mark.parametrize(("reason", "kind"), [("limit", "limit"), ("paused", "provider_paused")])
def test_what_queues_behind_a_limit_waits_for_the_limit(reason: str, kind: str) -> None:
    [waiting] = asked(row(shards=1970), row(reason=reason, shards=14, next_at=NOW + timedelta(seconds=5)))
    assert (waiting.kind, waiting.shards) == (kind, 1984)


@pytest.mark.parametrize(
    ("status", "ending", "said"),
    [
        ("cancelling", "cancelled", "was cancelled"),
        ("in_progress", "expired", "completion window"),
        ("finalizing", "done", "Every request is answered"),
    ],
)
def test_an_ending_batch_waits_for_its_closing(status: str, ending: str, said: str) -> None:
    [waiting] = asked(row(), status=status, ending=ending)
    assert (waiting.kind, waiting.shards) == ("closing", 3)
    assert said in waiting.text


def test_a_batch_that_is_checked_waits_for_its_plan_or_for_any_worker() -> None:
    assert kinds(asked(status="validating")) == ["planning"]
    assert kinds(asked(status="validating", slots=0)) == ["no_worker"]

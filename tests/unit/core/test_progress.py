"""Why a batch does not move, in one sentence each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from workers.core.pauses import Pause, Standing, standing
from workers.core.progress import waiting_for
from workers.core.progress_parts import Surroundings, Waiting
from workers.core.progress_texts import REST, resting

pytestmark = pytest.mark.fast
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


def row(**changed: Any) -> dict[str, Any]:
    there = {"provider": "acme", "status": "queued", "reason": None, "shards": 3, "requests": 30}
    return there | {"next_at": NOW} | changed


def leased(owner: str = "w", left_s: float = 40, **changed: Any) -> dict[str, Any]:
    until = NOW + timedelta(seconds=left_s)
    there = {"status": "leased", "owner": owner, "stale": left_s < 30, "requests": 30, "lease_until": until}
    return row(**there | changed)


def around(slots: int = 8, **more: Any) -> Surroundings:
    """One worker `w` for acme, or none."""
    return Surroundings({"acme": slots} if slots else {}, frozenset({"w"} if slots else ()), **more)


def asked(
    *rows: dict[str, Any], status: str = "in_progress", slots: int = 8, broker: bool = True, **batch: Any
) -> list[Waiting]:
    doc = {"status": status, "ending": None, **batch}
    return waiting_for(doc, rows, around(slots, broker_answers=broker), NOW)


def kinds(found: list[Waiting]) -> list[str]:
    return [waiting.kind for waiting in found]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_what_is_over_waits_for_nothing(status: str) -> None:
    assert asked(row(), status=status) == []


def test_work_in_hand_waits_for_nothing() -> None:
    assert asked(leased()) == []


def test_work_in_the_hands_of_a_silent_worker_is_free_when_its_lease_ends() -> None:
    found = asked(leased("dead", left_s=35, shards=2), leased("dead", left_s=41, requests=970), leased())
    [waiting] = found
    assert (waiting.kind, waiting.shards) == ("lost_worker", 5)
    assert waiting.until == int(NOW.timestamp()) + 41
    assert waiting.text == (
        "1,000 requests to 'acme' are held by a worker that fell silent; others go on with them in about 41 s, "
        "nothing to do."
    )


def test_a_lease_that_is_not_renewed_is_lost_whoever_beats_under_its_name() -> None:
    [waiting] = asked(leased("w", left_s=29, requests=1))
    assert waiting.kind == "lost_worker" and waiting.text.startswith(
        "1 request to 'acme' is held by a worker"
    )


def test_a_lease_that_is_over_names_no_time() -> None:
    [waiting] = asked(leased("w", left_s=-1), leased("dead", left_s=-3))
    assert (
        waiting.until is None and "2 workers that fell silent; others go on with them soon," in waiting.text
    )


def test_what_a_silent_worker_holds_of_a_paused_batch_waits_for_its_end() -> None:
    assert kinds(asked(leased("dead"), paused_at=1.0, pause_reason="user")) == ["paused"]


def test_what_a_silent_worker_holds_needs_another_worker() -> None:
    assert kinds(asked(leased(), slots=0)) == ["no_worker"]


def test_what_a_silent_worker_holds_of_a_cancelled_batch_is_closed_when_its_lease_ends() -> None:
    [waiting] = asked(leased("dead"), status="cancelling", ending="cancelled")
    assert waiting.kind == "lost_worker" and "was cancelled" in waiting.text and "40 s" in waiting.text
    assert kinds(asked(leased(), status="cancelling", ending="cancelled")) == ["closing"]


@pytest.mark.parametrize(
    "due", [{}, {"status": "dispatched"}, {"reason": "lease_expired"}, {"next_at": NEVER}], ids=str
)
def test_without_a_broker_nothing_that_is_due_reaches_a_worker(due: dict[str, Any]) -> None:
    [waiting] = asked(row(**due), row(provider="acme", shards=2), leased(), broker=False)
    assert (waiting.kind, waiting.provider, waiting.shards) == ("broker", None, 5)
    assert "The broker does not answer" in waiting.text and "`batchwright doctor`" in waiting.text


def test_what_rests_or_has_no_worker_does_not_wait_for_the_broker() -> None:
    later = NOW + timedelta(seconds=9)
    assert kinds(asked(row(reason="limit", next_at=later), broker=False)) == ["limit"]
    assert kinds(asked(row(reason="paused", next_at=NEVER), broker=False)) == ["paused"]
    assert kinds(asked(row(), slots=0, broker=False)) == ["no_worker"]
    assert asked(leased(), broker=False) == []


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


@pytest.mark.parametrize(
    ("reason", "said"), [("revoked", "batchwright pause {id}"), ("engine_error", "worker_crash")]
)
def test_what_happened_to_a_shard_is_said_with_its_moment(reason: str, said: str) -> None:
    then = NOW + timedelta(seconds=6)
    [waiting] = asked(row(reason=reason, since=NOW - timedelta(seconds=4), next_at=then))
    assert waiting.kind == reason and said in waiting.text
    assert "of this batch (4 s ago, next look in 6 s)" in waiting.text


@pytest.mark.parametrize("reason", sorted(REST))
def test_every_reason_stands_alone(reason: str) -> None:
    """`they` and `their` of a sentence by itself refer to nobody."""
    text = resting(reason, "acme", NOW - timedelta(seconds=4), NOW + timedelta(seconds=6), NOW)
    assert text[0].isupper() or text.startswith("'acme'")
    assert not {"They", "Their", "Them"} & set(text.split()), text
    assert "next look in 6 s)" in text and "{{" not in text


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
    rows = [row(), row(reason="held", shards=2), leased()]
    [waiting] = waiting_for(doc, rows, around(standing=held(**pauses)), NOW)
    assert (waiting.kind, waiting.provider, waiting.shards) == (kind, provider, 5)
    assert waiting.since == int((NOW - timedelta(minutes=5)).timestamp()) and waiting.until is None
    assert "(5 min ago)" in waiting.text and way_out in waiting.text


def test_a_pause_of_others_or_of_the_batch_itself_is_not_laid_to_the_operator() -> None:
    doc = {"status": "in_progress", "ending": None, "tenant": "t1"}
    [waiting] = waiting_for(doc, [row()], around(standing=held(provider="other", tenant="t2")), NOW)
    assert waiting.kind == "queue"
    own = doc | {"paused_at": 1.0}
    there = around(standing=held(provider="acme"))
    [waiting] = waiting_for(own, [row(reason="paused", next_at=NEVER)], there, NOW)
    assert waiting.kind == "paused"


def test_what_was_held_waits_for_a_slot_once_the_pause_is_over() -> None:
    assert kinds(asked(row(reason="held"))) == ["queue"]


def test_without_a_worker_every_other_reason_is_idle() -> None:
    [waiting] = asked(row(reason="limit", next_at=NOW + timedelta(hours=1)), slots=0)
    assert waiting.kind == "no_worker"
    assert "batchwright up" in waiting.text


def test_a_worker_that_serves_another_provider_is_said_so() -> None:
    doc = {"status": "in_progress", "ending": None}
    [waiting] = waiting_for(doc, [row()], Surroundings({"other": 8}, frozenset({"w"})), NOW)
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
    assert "(8 slots in all)" in waiting.text


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
        ("finalizing", "done", "Every request of this batch is answered"),
    ],
)
def test_an_ending_batch_waits_for_its_closing(status: str, ending: str, said: str) -> None:
    [waiting] = asked(row(), status=status, ending=ending)
    assert (waiting.kind, waiting.shards) == ("closing", 3)
    assert said in waiting.text


def planned(owner: str | None, left_s: float = 0, **more: Any) -> Waiting:
    plan = {"owner": owner, "lease_until": NOW + timedelta(seconds=left_s)} if owner else {"opened": False}
    [waiting] = asked(status="validating", plan=plan, **more)
    return waiting


def test_a_batch_that_is_checked_waits_for_its_plan_or_for_any_worker() -> None:
    assert planned("w", 20).kind == "planning" and "A worker is checking" in planned("w", 20).text
    assert planned(None).kind == "planning" and "as soon as a worker is free" in planned(None).text
    assert planned(None, slots=0).kind == "no_worker"


def test_a_batch_whose_planner_fell_silent_waits_for_the_end_of_its_lease() -> None:
    lost = planned("dead", 20)
    assert (lost.kind, lost.until) == ("lost_worker", int(NOW.timestamp()) + 20)
    assert "begins anew in about 20 s" in lost.text
    assert planned("dead", -1).until is None and planned("w", -1).kind == "lost_worker"


def test_a_batch_that_no_worker_has_is_not_said_to_be_checked_while_the_broker_is_away() -> None:
    assert planned(None, broker=False).kind == "broker"
    assert planned("dead", -1, broker=False).kind == "broker"
    assert planned("w", 20, broker=False).kind == "planning", "this one has heard of it"


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("tenant_requests", "requests_per_minute"),
        ("tenant_tokens", "tokens_per_minute"),
        ("tenant_concurrency", "max_concurrency"),
    ],
)
def test_a_tenants_own_limit_is_named_with_its_end_and_is_no_matter_of_a_provider(
    reason: str, limit: str
) -> None:
    then = NOW + timedelta(seconds=5)
    rows = [row(provider=name, reason=reason, next_at=then) for name in ("acme", "other")]
    there = replace(around(), slots={"acme": 8, "other": 8})
    [waiting] = waiting_for({"status": "in_progress", "ending": None}, rows, there, NOW)
    assert (waiting.kind, waiting.provider, waiting.shards) == ("tenant_limit", None, 2 * row()["shards"])
    assert waiting.until == int(then.timestamp())
    assert limit in waiting.text and "next look in 5 s" in waiting.text


def test_what_waits_behind_its_tenants_limit_says_so_whichever_batch_used_it_up() -> None:
    then = NOW + timedelta(seconds=5)
    there = around(used_up={"one": ("tenant_requests", then)})
    doc = {"status": "in_progress", "ending": None, "tenant": "one"}
    [waiting] = waiting_for(doc, [row()], there, NOW)
    assert (waiting.kind, waiting.until) == ("tenant_limit", int(then.timestamp()))
    assert kinds(waiting_for(doc | {"tenant": "another"}, [row()], there, NOW)) == ["queue"]

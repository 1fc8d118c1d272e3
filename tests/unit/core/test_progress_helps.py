"""Every reason why a batch waits has its times, its count of requests and the command that helps; and what runs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from app.cli.main import app
from workers.core.pauses import Pause, standing
from workers.core.progress import waiting_for
from workers.core.progress_helps import CASES, HELPS, shown
from workers.core.progress_parts import Surroundings, Waiting
from workers.core.progress_running import Running, Seat, outlook, running_now
from workers.core.progress_texts import REST

pytestmark = pytest.mark.fast
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
PAST, SOON = NOW - timedelta(minutes=5), NOW + timedelta(seconds=34)
MAY_END = datetime(2026, 6, 1, tzinfo=UTC)
MADE = NOW - timedelta(hours=1)
ID = "batch_1"
BATCH: dict[str, Any] = {
    "_id": ID,
    "tenant": "one",
    "status": "in_progress",
    "ending": None,
    "created_at": MADE.timestamp(),
    "in_progress_at": PAST.timestamp(),
}
THERE = Surroundings({"acme": 8}, frozenset({"w"}), lease_s=60.0)
NOBODY = Surroundings(lease_s=60.0, last_seen={"acme": PAST})
REACHED = {"paused_at": PAST.timestamp(), "pause_reason": "budget", "budget": {"limit_usd": 2.0}}
OF_TENANT = {
    "paused_at": PAST.timestamp(),
    "pause_reason": "tenant_budget",
    "tenant_budget": {"account": "one:2026-05", "limit_usd": 9.0},
}


def row(**changed: Any) -> dict[str, Any]:
    there = {"provider": "acme", "status": "queued", "reason": None, "shards": 3, "requests": 30}
    return there | {"next_at": PAST, "since": None} | changed


def rests(reason: str) -> dict[str, Any]:
    return row(reason=reason, since=PAST, next_at=SOON)


def lost() -> dict[str, Any]:
    return row(status="leased", owner="dead", stale=True, lease_until=SOON)


def held(kind: Any, name: str) -> Surroundings:
    return replace(THERE, standing=standing([Pause(kind, name, PAST.timestamp(), "default")]))


Case = tuple[dict[str, Any], dict[str, Any], Surroundings, datetime | None, datetime | None, str | None]
NEVER_ROW = row(reason="paused", next_at=NEVER)
# Reason: what the batch and its shards are like, what is around, since when, until when, and the command.
CASES_BY_KIND: dict[str, Case] = {
    "planning": ({}, row(next_at=NEVER), THERE, PAST, None, None),
    "no_worker": ({}, row(), NOBODY, PAST, None, "batchwright up"),
    "lost_worker": ({}, lost(), THERE, SOON - timedelta(seconds=60), SOON, None),
    "broker": (
        {},
        row(),
        replace(THERE, broker_answers=False, broker_away_since=PAST.timestamp()),
        PAST,
        None,
        "batchwright doctor",
    ),
    "paused": (
        {"paused_at": PAST.timestamp(), "pause_reason": "user"},
        NEVER_ROW,
        THERE,
        PAST,
        None,
        f"batchwright resume {ID}",
    ),
    "provider_held": ({}, row(), held("provider", "acme"), PAST, None, "batchwright resume --provider acme"),
    "tenant_held": ({}, row(), held("tenant", "one"), PAST, None, "batchwright resume --tenant one"),
    "budget": ({}, rests("budget"), THERE, PAST, SOON, f"batchwright resume {ID} --max-cost-usd N"),
    "budget_reached": (REACHED, NEVER_ROW, THERE, PAST, None, f"batchwright resume {ID} --max-cost-usd N"),
    "tenant_budget": (
        OF_TENANT,
        NEVER_ROW,
        THERE,
        PAST,
        MAY_END,
        "batchwright tenants set one --max-cost-usd-per-month N",
    ),
    "tenant_limit": ({}, rests("tenant_tokens"), THERE, PAST, SOON, "batchwright tenants show one"),
    "limit": ({}, rests("limit"), THERE, PAST, SOON, None),
    "provider_paused": ({}, rests("paused"), THERE, PAST, SOON, None),
    "model_paused": ({}, rests("model_paused"), THERE, PAST, SOON, None),
    "concurrency": ({}, rests("concurrency"), THERE, PAST, SOON, None),
    "breaker": ({}, rests("breaker"), THERE, PAST, SOON, "batchwright doctor"),
    "retry": ({}, rests("retry"), THERE, PAST, SOON, "batchwright doctor"),
    "redis": ({}, rests("redis"), THERE, PAST, SOON, "batchwright doctor"),
    "lease_expired": ({}, rests("lease_expired"), THERE, PAST, SOON, None),
    "drain": ({}, rests("drain"), THERE, PAST, SOON, None),
    "revoked": ({}, rests("revoked"), THERE, PAST, SOON, f"batchwright pause {ID}"),
    "engine_error": ({}, rests("engine_error"), THERE, PAST, SOON, "batchwright logs"),
    "suspect": ({}, rests("suspect"), THERE, PAST, SOON, None),
    "dependency": ({}, rests("dependency"), THERE, PAST, SOON, None),
    "queue": ({}, row(), THERE, PAST, None, None),
    "closing": (
        {"status": "cancelling", "ending": "cancelled", "cancelling_at": PAST.timestamp()},
        row(),
        THERE,
        PAST,
        None,
        None,
    ),
    "no_worker_of_provider": (
        {},
        row(),
        replace(THERE, slots={"other": 8}, last_seen={"acme": PAST}),
        PAST,
        None,
        "batchwright doctor",
    ),
}


def unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def test_no_reason_is_forgotten() -> None:
    assert set(CASES_BY_KIND) == {*HELPS, *CASES}
    renamed = {"tenant_requests", "tenant_tokens", "tenant_concurrency"}
    assert set(REST) - renamed <= set(HELPS), "whatever a shard may rest for has its help"


@pytest.mark.parametrize("name", CASES_BY_KIND)
def test_every_reason_says_since_when_until_when_how_many_requests_and_which_command_helps(name: str) -> None:
    changed, one, around, since, until, command = CASES_BY_KIND[name]
    batch = BATCH | changed
    [waiting] = waiting_for(batch, [one], around, NOW)
    found = shown(waiting, batch)
    assert name in (found["kind"], waiting.case)
    assert (found["since"], found["until"]) == (unix(since), unix(until))
    assert (found["requests"], found["command"]) == (30, command)
    assert found["helps"].endswith(".") and "{" not in found["helps"] + found["text"]
    assert ("Nothing to do" in found["helps"]) <= (command is None), (
        "a command beside `nothing to do` misleads"
    )


def test_every_command_is_a_verb_with_flags_of_its_own() -> None:
    command: Any = typer.main.get_command(app)
    for help_ in (*HELPS.values(), *CASES.values()):
        if help_.command is None:
            continue
        program, verb, *rest = help_.command.split()
        found = command.commands[verb]
        if subcommands := getattr(found, "commands", None):
            found, rest = subcommands[rest[0]], rest[1:]
        flags = {flag for parameter in found.params for flag in parameter.opts}
        assert program == "batchwright" and {word for word in rest if word.startswith("--")} <= flags


def test_a_file_that_nobody_checks_waits_since_it_was_handed_in() -> None:
    batch = BATCH | {"status": "validating", "plan": {"owner": "dead", "lease_until": SOON}}
    [waiting] = waiting_for(batch, [], THERE, NOW)
    assert (waiting.since, waiting.until) == (unix(SOON - timedelta(seconds=60)), unix(SOON))
    [waiting] = waiting_for(batch | {"plan": {}}, [], THERE, NOW)
    assert (waiting.kind, waiting.since) == ("planning", unix(MADE))


def test_what_is_named_in_a_command_is_one_word_for_a_shell() -> None:
    waiting = Waiting("provider_held", "a b; rm -rf ~", 1, None, "x")
    command = shown(waiting, BATCH)["command"]
    assert shlex.split(command)[-1] == "a b; rm -rf ~"


@given(st.lists(st.tuples(st.sampled_from(["limit", None, "breaker"]), st.integers(0, 500)), max_size=8))
def test_no_request_is_counted_twice_or_left_out(parts: list[tuple[str | None, int]]) -> None:
    rows = [row(reason=reason, requests=n, next_at=SOON if reason else PAST) for reason, n in parts]
    found = waiting_for(BATCH, rows, THERE, NOW)
    assert sum(each.requests for each in found) == sum(n for _, n in parts)


def leased(
    owner: str, requests: int, *, stale: bool = False, ago_s: float = 12, **changed: Any
) -> dict[str, Any]:
    sent_at = NOW - timedelta(seconds=ago_s)
    return row(status="leased", owner=owner, stale=stale, requests=requests, sent_at=sent_at, **changed)


SEATS = {"a@host:1": Seat("worker-1", {"acme": 10}), "b@host:2": Seat("worker-2", {"acme": 4})}


def test_what_runs_is_told_by_worker_the_oldest_first_and_without_its_host() -> None:
    rows = [leased("a@host:1", 3, ago_s=5), leased("b@host:2", 90), leased("c@host:3", 7), row()]
    rows.append(leased("a@host:1", 50, stale=True))
    now_s = int(NOW.timestamp())
    first = Running("acme", "worker-2", 3, 90, 4, now_s - 12)
    second = Running("acme", "worker-1", 3, 3, 3, now_s - 5)
    assert running_now(rows, SEATS) == [first, second]
    assert "host" not in str([each.as_dict() for each in running_now(rows, SEATS)])


def said(
    status: str, done: int, failed: int, waiting: tuple[str, ...] = (), runs: bool = False
) -> tuple[str, str | None]:
    batch = BATCH | {"status": status, f"{status}_at": PAST.timestamp()}
    rows = [row(reason=reason, next_at=SOON) for reason in waiting]
    reasons = [shown(each, batch) for each in waiting_for(batch, rows, THERE, NOW)]
    running = running_now([leased("a@host:1", 90)], SEATS) if runs else []
    counts = {"total": 1000, "done": done, "failed": failed}
    found = outlook(batch, counts, reasons, running, NOW)
    assert found.helps
    return found.text, found.command


@pytest.mark.parametrize(
    ("status", "done", "failed", "text", "command"),
    [
        (
            "completed",
            1000,
            0,
            "It was completed 5 min ago: 1,000 of 1,000 requests are answered.",
            "download",
        ),
        ("completed", 1000, 10, "990 of 1,000 requests are answered, 10 failed.", "errors"),
        ("cancelled", 400, 0, "It was cancelled 5 min ago: 400 of 1,000 requests are answered.", "retry"),
        ("expired", 400, 0, "It expired 5 min ago: 400 of 1,000", "retry"),
        ("failed", 0, 0, "It was refused 5 min ago", "show"),
    ],
)
def test_a_batch_that_has_ended_says_how_and_what_now(
    status: str, done: int, failed: int, text: str, command: str
) -> None:
    found, way = said(status, done, failed)
    assert text in found and way == f"batchwright {command} {ID}"


def test_that_nothing_waits_is_explained_by_what_runs() -> None:
    text, command = said("in_progress", 0, 0, runs=True)
    assert text == (
        "Nothing waits: worker-1 has 90 requests in hand, 10 calls under way, the oldest part for 12 s."
    )
    assert command is None


def test_a_batch_that_waits_names_the_command_of_the_first_reason_that_has_one() -> None:
    assert said("in_progress", 0, 0, ("limit", "breaker"), runs=True) == (
        "60 requests wait; worker-1 has 90 requests in hand, 10 calls under way, the oldest part for 12 s.",
        "batchwright doctor",
    )
    assert said("in_progress", 0, 0, ("limit",)) == ("30 requests wait; nothing of it runs now.", None)

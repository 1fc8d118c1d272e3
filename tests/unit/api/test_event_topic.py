"""Topics and watchers: what is sent to whom, told by documents and times alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.api.event_socket import Tempo
from app.api.event_topic import PROGRESS_EVERY_S, SLOWEST_LOOK_S, Topic, Watcher, taken
from app.client.models import batch_from


async def yes() -> bool:
    return True


def watcher() -> Watcher:
    return Watcher("default", yes)


def doc(last: int, status: str = "in_progress") -> dict[str, Any]:
    log = [{"n": n, "at": 1.0, "type": "batch.paused", "data": {}} for n in range(1, last + 1)]
    if status == "completed":
        log[-1]["type"] = "batch.completed"
    return {"_id": "batch_1", "created_at": 1.0, "status": status, "log": log[-200:]}


def shown(recorded: int = 0, status: str = "in_progress") -> dict[str, Any]:
    names = ("cached", "coalesced", "calls", "cost_usd", "ending", "paused", "pause_reason")
    counts = {"total": 10, "completed": recorded, "failed": 0}
    ours = {**dict.fromkeys(names, 0), "recorded": recorded}
    known = {"id": "batch_1", "status": status, "endpoint": "/v1/embeddings", "input_file_id": "file-1"}
    return {**known, "created_at": 1, "request_counts": counts, "batchwright": ours}


def kinds(of: Watcher) -> list[tuple[str, int | None]]:
    return [(event["type"], event["n"]) for event in of.news()]


def test_a_new_watcher_gets_what_it_has_not_seen_and_then_the_present_progress() -> None:
    topic, late, new = Topic("batch_1"), watcher(), watcher()
    topic.saw(doc(2), shown(), 0.0, 100.0)
    late.follow(topic, 1)
    new.follow(topic, -1)
    assert kinds(late) == [("batch.paused", 2), ("batch.progress", None)]
    assert kinds(new) == [
        ("batch.created", 0),
        ("batch.paused", 1),
        ("batch.paused", 2),
        ("batch.progress", None),
    ]
    assert kinds(late) == kinds(new) == []


@given(looks=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2)), max_size=40))
def test_progress_comes_once_a_second_at_most_and_ends_up_true(looks: list[tuple[float, int]]) -> None:
    topic, one = Topic("batch_1"), watcher()
    one.follow(topic, 0)
    now_s, recorded = 0.0, 0
    told: list[tuple[float, int]] = []
    for after_s, more in [*looks, (PROGRESS_EVERY_S, 0)]:
        now_s, recorded = now_s + after_s, recorded + more
        topic.saw(doc(0), shown(recorded), now_s, now_s)
        told += [(now_s, event["data"]["recorded"]) for event in one.news() if event["n"] is None]
    times = [at for at, _ in told]
    assert all(later - earlier >= PROGRESS_EVERY_S for earlier, later in pairwise(times))
    assert told[-1][1] == recorded


def test_what_stands_still_is_looked_at_less_often_and_what_moves_again_at_once() -> None:
    topic = Topic("batch_1")
    for second in range(20):
        topic.saw(doc(0), shown(1), float(second), 0.0)
    assert topic.look_in_s == SLOWEST_LOOK_S
    topic.saw(doc(0), shown(2), 20.0, 0.0)
    assert topic.look_in_s == PROGRESS_EVERY_S


def test_a_reader_who_is_slow_costs_no_memory_and_learns_what_it_has_missed() -> None:
    topic, slow = Topic("batch_1"), watcher()
    topic.saw(doc(0), shown(), 0.0, 0.0)
    slow.follow(topic, 0)
    for last in range(1, 231):
        topic.saw(doc(last), shown(), 0.0, 0.0)
    told = [event for event in slow.news() if event["n"] is not None]
    assert (told[0]["type"], told[0]["data"]["from"], told[0]["data"]["to"]) == ("log.gap", 1, 30)
    assert [event["n"] for event in told[1:]] == list(range(31, 231))


def test_after_the_end_the_batch_leaves_and_the_whole_object_was_told() -> None:
    topic, one = Topic("batch_1"), watcher()
    one.follow(topic, 0)
    topic.saw(doc(1, "completed"), shown(10, "completed"), 0.0, 0.0)
    (end,) = one.news()
    assert batch_from(end["data"]["batch"]).completed == 10
    assert (dict(one.following), dict(one.known), topic.watchers) == ({}, {"batch_1": 1}, set())


def test_a_batch_that_is_gone_leaves_without_a_word() -> None:
    topic, one = Topic("batch_1"), watcher()
    one.follow(topic, -1)
    topic.over = True
    assert kinds(one) == []
    assert not one.following


async def test_a_stream_ends_with_the_last_of_its_batches() -> None:
    topic, one = Topic("batch_1"), watcher()
    topic.saw(doc(1, "completed"), shown(10, "completed"), 0.0, 0.0)
    one.follow(topic, 0)
    assert [event["n"] async for event in taken(one, until_over=True) if event] == [1]


async def test_a_stream_ends_in_the_middle_when_it_must() -> None:
    topic, one = Topic("batch_1"), watcher()
    topic.saw(doc(5), shown(), 0.0, 0.0)
    one.follow(topic, 0)
    told = []
    async for event in taken(one, until_over=False):
        told.append(event)
        one.end("stopping")
        one.end("left")
    assert (len(told), one.ended) == (1, "stopping")


@given(gaps=st.lists(st.floats(0, 30), max_size=60), limit=st.integers(1, 5))
def test_no_minute_has_more_messages_than_allowed_and_who_keeps_to_it_is_never_stopped(
    gaps: list[float], limit: int
) -> None:
    tempo, now_s = Tempo(limit), 0.0
    sent: list[float] = []
    for gap in gaps:
        now_s += gap
        sent.append(now_s)
        in_the_last_minute = sum(now_s - at < 60.0 for at in sent)
        assert tempo.allows(now_s) == (in_the_last_minute <= limit)

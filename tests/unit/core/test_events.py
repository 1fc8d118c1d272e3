"""What a watcher is sent is a pure function of the log and of what has reached it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core import events
from workers.core.pace import Pace
from workers.core.states import TERMINAL_BATCH

ENDED = st.sampled_from([str(status) for status in TERMINAL_BATCH])


def batch(last: int, kept: int = 200, status: str = "in_progress") -> dict[str, Any]:
    """A batch with entries up to number `last`, of which the log keeps the last ones."""
    log = [{"n": n, "at": 100.0 + n, "type": "batch.paused", "data": {}} for n in range(1, last + 1)]
    return {"_id": "batch_1", "created_at": 99.5, "status": status, "log": log[len(log) - min(kept, last) :]}


def shown(recorded: int = 3, total: int = 10, **ours: Any) -> dict[str, Any]:
    ours = dict.fromkeys(("cached", "coalesced", "calls", "cost_usd", "ending", "pause_reason"), 0) | ours
    counts = {"total": total, "completed": recorded, "failed": 0}
    known = {"id": "batch_1", "status": "in_progress", "request_counts": counts}
    return {**known, "batchwright": {"recorded": recorded, "paused": False, **ours}}


@given(growth=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), max_size=12), kept=st.integers(1, 7))
def test_however_often_a_watcher_is_cut_off_every_entry_comes_once_in_order_or_is_told_as_lost(
    growth: list[tuple[int, int]], kept: int
) -> None:
    last, seen = 0, events.NOTHING
    told: list[events.Entry] = []
    for more, taken in growth:
        last += more
        news = events.unseen(events.entries_of(batch(last, kept)), seen)[:taken]  # then the connection breaks
        told += news
        seen = news[-1].n if news else seen
    told += events.unseen(events.entries_of(batch(last, kept)), seen)
    heard = [
        number
        for each in told
        for number in (range(each.data["from"], each.data["to"] + 1) if each.type == events.GAP else [each.n])
    ]
    assert heard == list(range(last + 1))
    assert [each.n for each in told] == sorted({each.n for each in told})


def test_a_watcher_from_the_start_is_told_of_the_creation_before_what_was_lost() -> None:
    told = events.unseen(events.entries_of(batch(9, kept=2)), events.NOTHING)
    assert [(each.n, each.type) for each in told] == [
        (0, "batch.created"),
        (7, "log.gap"),
        (8, "batch.paused"),
        (9, "batch.paused"),
    ]
    assert told[1].data == {"from": 1, "to": 7}


@given(status=ENDED, last=st.integers(1, 9), seen=st.integers(-1, 12))
def test_nothing_comes_any_more_once_the_last_entry_of_an_ended_batch_was_seen(
    status: str, last: int, seen: int
) -> None:
    ended = batch(last, status=status)
    assert events.is_over(ended, seen) == (not events.unseen(events.entries_of(ended), seen))
    assert not events.is_over(batch(last), seen)


@given(status=ENDED)
def test_a_batch_that_ended_before_there_was_a_log_has_an_end(status: str) -> None:
    old = {"_id": "batch_1", "created_at": 1.0, "status": status, f"{status}_at": 5.0}
    assert [(each.n, each.type, each.at) for each in events.entries_of(old)] == [
        (0, "batch.created", 1.0),
        (1, f"batch.{status}", 5.0),
    ]


@pytest.mark.parametrize(("said", "seen"), [(None, -1), ("", -1), ("0", 0), (" 2 ", 2), ("3", 3), ("99", 3)])
def test_a_last_event_id_is_the_number_of_an_entry(said: str | None, seen: int) -> None:
    assert events.seen_from(said, batch(3)) == seen


@pytest.mark.parametrize("said", ["-1", "x", "1.0", "²", "٣", "1" * 10, "evt_1", "1\n2"])
def test_what_is_no_number_of_an_entry_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="number of an entry"):
        events.seen_from(said, batch(3))


def test_only_the_end_carries_the_batch_and_every_event_its_id() -> None:
    end = events.entry_event("batch_1", events.Entry(4, 7.9, "batch.completed"), {"object": "batch"})
    pause = events.entry_event("batch_1", events.Entry(2, 5.0, "batch.paused", {"reason": "user"}), {})
    assert end["data"] == {"id": "batch_1", "batch": {"object": "batch"}}
    assert (end["object"], end["n"], end["created_at"]) == ("event", 4, 7)
    assert pause["data"] == {"id": "batch_1", "reason": "user"}


def test_progress_says_how_fast_it_goes_and_how_long_it_takes() -> None:
    pace = Pace()
    pace.look(0.0, 1)
    pace.look(2.0, 5)
    data = events.progress_of(shown(recorded=5, total=11), pace, [])
    assert (data["per_second"], data["eta_s"], data["recorded"]) == (2.0, 3, 5)
    assert events.progress_of(shown(), Pace(), [])["eta_s"] is None


def test_what_the_clock_alone_changes_is_no_news() -> None:
    why = {"kind": "limit", "provider": "p", "shards": 2, "text": "for 3 s", "since": 1, "until": 9}
    pace = Pace()
    told = events.progress_of(shown(), pace, [why])
    assert not events.is_news(events.progress_of(shown(), pace, [why | {"text": "for 4 s"}]), told)
    assert events.is_news(events.progress_of(shown(recorded=4), pace, [why]), told)
    assert events.is_news(events.progress_of(shown(), pace, []), told)
    assert events.is_news(events.progress_of(shown(paused=True), pace, [why]), told)
    assert events.is_news(told, None)


@given(text=st.text())
def test_a_frame_is_one_event_whatever_is_in_it(text: str) -> None:
    told = events.entry_event("batch_1", events.Entry(3, 1.0, "batch.paused", {"reason": text}), {})
    frame = events.sse(told)
    number, kind, data, *rest = frame.split(b"\n")
    assert (number, kind, rest) == (b"id: 3", b"event: batch.paused", [b"", b""])
    assert orjson.loads(data.removeprefix(b"data: ")) == told
    assert b"\r" not in frame


def test_progress_has_no_id_of_its_own() -> None:
    frame = events.sse(events.progress_event(events.progress_of(shown(), Pace(), []), 1.0))
    assert frame.startswith(b"event: batch.progress\ndata: ")

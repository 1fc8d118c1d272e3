"""Batches are looked at until they have ended, by a clock and a sleep that are arguments."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import pytest

from app.cli.follow import Followed, Follower
from app.cli.progress import SIMULATED, View
from app.client.errors import ApiUnreachable
from app.client.models import BatchInfo, Waiting, batch_from


def batch(done: int, status: str = "in_progress", *, simulated: bool = False) -> BatchInfo:
    counts = {"total": 10, "completed": done, "failed": 0}
    known: dict[str, Any] = {"id": "batch_1", "status": status, "endpoint": "/v1/embeddings"}
    known |= {"input_file_id": "file-1", "created_at": 1, "request_counts": counts}
    return batch_from(known | {"batchwright": {"recorded": done, "simulated": simulated}})


class Script:
    """A server that answers each look with the next entry, and the time that passes by sleeping."""

    def __init__(self, *looks: BatchInfo | Exception) -> None:
        self.looks = list(looks)
        self.now_s = 100.0
        self.views: list[View] = []
        self.notes: list[str] = []
        self.asked_why = 0

    def get(self, batch_id: str) -> BatchInfo:
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look

    def why(self, batch_id: str) -> tuple[Waiting, ...]:
        self.asked_why += 1
        return (Waiting("limit", "parked by a limit"),)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stage(self, text: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def update(self, view: View) -> None:
        self.views.append(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def follow(script: Script) -> Followed:
    each = Followed("a.jsonl", batch(0), started_s=100.0)
    Follower(script, script, clock=lambda: script.now_s, sleep=script.sleep).follow([each])
    return each


def test_following_ends_with_the_batch_and_knows_how_long_it_took() -> None:
    script = Script(batch(2), batch(7), batch(10, "completed"))
    each = follow(script)
    assert each.batch.status == "completed"
    assert each.seconds == pytest.approx(0.2, abs=0.1)
    assert [view.rows[0].done for view in script.views] == [2, 7, 10]


def test_the_server_is_asked_why_only_after_two_still_seconds() -> None:
    moving = Script(*(batch(n) for n in range(10)), batch(10, "completed"))
    follow(moving)
    assert moving.asked_why == 0
    still = Script(*(batch(3) for _ in range(40)), batch(10, "completed"))
    follow(still)
    assert still.asked_why >= 1
    assert ("parked by a limit",) in [view.waiting for view in still.views]
    assert still.views[-1].waiting == ()


def test_a_server_that_is_away_for_a_moment_is_waited_for() -> None:
    script = Script(batch(2), ApiUnreachable("gone"), ApiUnreachable("gone"), batch(10, "completed"))
    assert follow(script).batch.status == "completed"
    assert script.notes == ["gone; trying again"]


def test_a_server_that_stays_away_ends_the_watching() -> None:
    script = Script(batch(2), *(ApiUnreachable("gone") for _ in range(100)))
    with pytest.raises(ApiUnreachable):
        follow(script)


def test_the_simulator_is_named_once_as_soon_as_it_shows() -> None:
    looks = [
        batch(1),
        batch(2, simulated=True),
        batch(3, simulated=True),
        batch(10, "completed", simulated=True),
    ]
    script = Script(*looks)
    follow(script)
    assert script.notes == [SIMULATED]


def test_a_server_that_has_never_answered_is_not_waited_for() -> None:
    script = Script()

    def first(_watched: object) -> Followed | None:
        raise ApiUnreachable("nothing answers there")

    with pytest.raises(ApiUnreachable):
        Follower(script, script, clock=lambda: script.now_s, sleep=script.sleep).follow([], first)
    assert (script.now_s, script.notes) == (100.0, [])


def test_nothing_is_shown_of_batches_before_there_is_one() -> None:
    script = Script(batch(10, "completed"))
    waiting = [Followed("a.csv", batch(0), started_s=100.0)]
    follower = Follower(script, script, clock=lambda: script.now_s, sleep=script.sleep)
    follower.follow([], lambda _: waiting.pop() if waiting else None)
    assert [view.rows[0].done for view in script.views] == [10]

"""Who stops a run is told what goes on without him, since that costs."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli.follow import Followed
from app.cli.stopping import stopped_lines, telling_how_to_go_on
from app.client.models import batch_from


def followed(number: int, status: str = "in_progress", **ours: Any) -> Followed:
    known: dict[str, Any] = {"id": f"batch_{number}", "status": status, "endpoint": "/v1/embeddings"}
    known |= {"input_file_id": "file-1", "created_at": 1}
    known |= {"request_counts": {"total": 10, "completed": 4, "failed": 0}}
    return Followed("a", batch_from(known | {"batchwright": {"recorded": 4} | ours}), started_s=0.0)


def test_a_server_that_stays_works_on_and_is_stopped_by_name() -> None:
    resting = followed(3, paused=True, pause_reason="budget")
    said = list(stopped_lines([followed(1), followed(2, "completed"), resting], None, None, stays=True))
    assert said == [
        "stopped; the same command goes on with the 3 batches: 12 of 30 results are kept",
        "the server works on meanwhile; `batchwright cancel batch_1` ends that",
    ]


def test_a_stack_of_our_own_stops_with_us(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        telling_how_to_go_on([followed(1)], "the table", 40, stays=False, sampled=True),
    ):
        raise KeyboardInterrupt
    assert (
        capsys.readouterr().err
        == "stopped; the same command goes on with the table: 4 of 40 results are kept\n"
    )


def test_who_stops_at_the_sample_is_not_told_that_nothing_was_sent() -> None:
    assert list(stopped_lines([], "the table", 40, stays=True, sampled=True)) == [
        "stopped at the sample; the same command goes on with it"
    ]
    assert next(stopped_lines([], None, 40, stays=True)).startswith("stopped before anything was sent")

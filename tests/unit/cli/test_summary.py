"""What came of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.cli import summary
from app.cli.failures import Failure, count_failures
from app.cli.summary import Outcome
from app.client.models import batch_from


def batch(status: str = "completed", **changes: Any) -> Any:
    counts = {"total": 10, "completed": 10, "failed": 0} | changes.pop("counts", {})
    ours = {
        "recorded": counts["completed"] + counts["failed"],
        "cached": 4,
        "coalesced": 1,
        "calls": 5,
        "excess_calls": 0,
        "input_tokens": 100,
        "output_tokens": 50,
        "cost_usd": 0.25,
    }
    return batch_from(
        {
            "id": "batch_1",
            "status": status,
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-1",
            "created_at": 1,
            "request_counts": counts,
            "batchwright": ours | changes,
        }
    )


def test_the_json_line_keeps_its_promised_keys_in_order() -> None:
    line = summary.as_json(Outcome("a.jsonl", batch(), 2.0, output_path=Path("/x/a.out.jsonl")))
    assert list(line) == [
        "batch_id", "status", "total", "completed", "failed", "cached", "coalesced", "calls",
        "excess_calls", "input_tokens", "output_tokens", "cost_usd", "seconds", "items_per_second",
        "output_path", "error_path", "max_cost_usd", "pause_reason", "asked_again", "by_provider",
        "handed_over", "saved_usd",
    ]  # fmt: skip
    assert (line["items_per_second"], line["output_path"], line["error_path"]) == (
        5.0,
        "/x/a.out.jsonl",
        None,
    )


def test_what_went_to_another_provider_is_said_where_anything_did() -> None:
    said = dict(summary.fields(Outcome("a", batch(handed_over=1200), 1.0)))
    assert said["handed over"] == "1,200 items to another provider"
    assert "handed over" not in dict(summary.fields(Outcome("a", batch(), 1.0)))


def test_nothing_is_said_of_requests_before_anybody_knows_them() -> None:
    nothing = {"total": 0, "completed": 0, "failed": 0}
    unread = batch("validating", counts=nothing, cached=0, coalesced=0, calls=0, cost_usd=0.0)
    assert [name for name, _ in summary.fields(Outcome("a", unread, 1.0))] == ["batch", "cost", "time"]


def test_items_done_before_we_came_do_not_make_us_fast() -> None:
    assert Outcome("a", batch(), 2.0, done_before=6).items_per_second == 2.0


def test_the_exit_code_is_that_of_the_worst_batch() -> None:
    fine = Outcome("a", batch(), 1.0)
    some = Outcome("b", batch(counts={"completed": 9, "failed": 1}), 1.0)
    cancelled = Outcome("c", batch("cancelled"), 1.0)
    refused = Outcome("d", batch("failed"), 1.0)
    codes = [summary.exit_code(each) for each in ([fine], [fine, some], [cancelled], [refused, some, fine])]
    assert codes == [0, 1, 1, 2]


def test_a_run_without_calls_says_that_the_cache_answered() -> None:
    cached = Outcome("a", batch(cached=10, coalesced=0, calls=0), 1.0)
    assert "answered from the cache: 0 calls" in summary.remarks([cached])
    assert "answered from the cache: 0 calls" not in summary.remarks([cached, Outcome("b", batch(), 1.0)])


def test_the_simulator_is_never_hidden() -> None:
    assert "answers come from the simulator" in summary.remarks([Outcome("a", batch(simulated=True), 1.0)])


def test_the_first_reasons_of_failure_are_counted() -> None:
    failures = tuple(Failure(number, f"reason {number}") for number in (5, 4, 3, 2, 1))
    said = summary.remarks([Outcome("a", batch(), 1.0, failures=failures)])
    assert said[0] == "5 items failed: reason 5"
    assert said[-1] == "3 items failed for other reasons"


def test_an_unknown_cost_reads_as_unknown() -> None:
    assert ("cost", "unknown") in summary.fields(Outcome("a", batch(cost_usd=None), 1.0))


def test_failures_are_sorted_by_number_and_what_never_ran_is_none_of_them() -> None:
    lines = [
        failure(None, error={"code": "connection_failed", "message": "nobody\nthere"}),
        failure(None, error={"code": "connection_failed", "message": "nobody\nthere"}),
        failure({"status_code": 400, "body": {"error": {"message": "bad", "code": "x"}}}),
        failure(None, error={"code": "batch_cancelled", "message": "not executed"}),
    ]
    assert count_failures(lines) == (
        Failure(2, "connection_failed: nobody there"),
        Failure(1, "status 400: bad"),
    )


def failure(response: Any, error: Any = None) -> bytes:
    return json.dumps({"id": "1", "custom_id": "c", "response": response, "error": error}).encode()


def test_what_was_all_done_before_we_came_has_no_time_of_ours() -> None:
    ended = batch()
    for only_looked_at in (Outcome("a", ended, 0.1, done_before=ended.total), Outcome("a", ended, 0.0)):
        assert "time" not in [name for name, _ in summary.fields(only_looked_at)]
    assert "time" in [name for name, _ in summary.fields(Outcome("a", ended, 2.0))]

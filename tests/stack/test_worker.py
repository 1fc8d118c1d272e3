"""A worker process, a simulator and real servers: what becomes of batches when all goes well, and when calls fail."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.workers import Site, WorkerProcess, started_worker

pytestmark = [pytest.mark.integration, pytest.mark.stack]
LIMITED_RPM = 200  # eight slots of one item each want more than the two seconds that may be granted ahead
LIMITED = """
[providers.limited]
kind = "openai"
base_url = "{url}"
models = ["limited-*"]
[providers.limited.limits]
requests_per_minute = {rpm}
"""


@pytest.fixture(scope="module", autouse=True)
def worker(site: Site) -> Iterator[WorkerProcess]:
    """One worker for the whole module: its start takes longer than most tests."""
    config = site.directory / "batchwright.toml"
    config.write_text(LIMITED.format(url=site.simulator.base_url, rpm=LIMITED_RPM))
    settings = {
        "BATCHWRIGHT_CONFIG": str(config),
        "BATCHWRIGHT_SHARD_MAX_ITEMS": "25",
        "BATCHWRIGHT_WORKER_PROCESSES": "1",
        "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "16",
        "BATCHWRIGHT_RETRY_MAX_WAIT_S": "0.2",
        "BATCHWRIGHT_WORKER_HTTP_PORT": "0",
        "BATCHWRIGHT_LOG_JSON": "true",
        "BATCHWRIGHT_LOG_LEVEL": "debug",
    }
    with started_worker(site, "w1", **settings) as started:
        yield started
        assert started.alive, started.log_path.read_text()[-3000:]


def lines(site: Site, batch_id: str, *, ok: bool) -> list[dict[str, Any]]:
    return [json.loads(line) for _, line in site.stores.results.lines(batch_id, ok=ok)]


def test_a_batch_with_repeats_is_answered_in_full_and_each_distinct_prompt_is_paid_once(site: Site) -> None:
    before = site.called()
    batch_id = site.submit([chat_line(f"c{n}", f"question {n % 200}") for n in range(300)])
    batch = site.ended(batch_id)
    assert batch["status"] == "completed" and batch["total"] == 300
    assert site.called() - before == 200
    counts = batch["counts"]
    assert (counts["completed"], counts["failed"], counts["calls"]) == (300, 0, 200)
    assert counts["cached"] + counts["coalesced"] == 100
    assert counts["excess"] == counts["possibly_repeated"] == 0
    output = lines(site, batch_id, ok=True)
    assert [line["custom_id"] for line in output] == [f"c{n}" for n in range(300)]
    answers = [line["response"]["body"]["choices"][0]["message"]["content"] for line in output]
    assert answers[:100] == answers[200:], "equal questions have equal answers"
    assert {shard["status"] for shard in site.shards(batch_id)} == {"done"}
    assert batch["error_file_id"] is None
    file = site.stores.files.get(batch["output_file_id"], "default")
    assert file is not None
    assert file["bytes"] == sum(len(line) for _, line in site.stores.results.lines(batch_id, ok=True))


def test_what_was_answered_before_is_not_called_again(site: Site) -> None:
    prompts = [chat_line(f"c{n}", f"remember {n}") for n in range(20)]
    site.ended(site.submit(prompts))
    before = site.called()
    batch = site.ended(site.submit(prompts))
    assert (batch["counts"]["cached"], batch["counts"]["calls"]) == (20, 0)
    assert site.called() == before


def test_without_the_cache_every_line_is_a_call_of_its_own(site: Site) -> None:
    before = site.called()
    batch = site.ended(
        site.submit([chat_line(f"c{n}", "the same") for n in range(12)], options={"cache": False})
    )
    assert (batch["counts"]["calls"], batch["counts"]["completed"]) == (12, 12)
    assert site.called() - before == 12


def test_a_refused_request_goes_to_the_error_file_with_the_providers_own_body(site: Site) -> None:
    batch_id = site.submit(
        [
            chat_line("good", "fine"),
            chat_line("bad", "no [[sim:status=400;code=too_odd]]"),
            chat_line("twin", "no [[sim:status=400;code=too_odd]]"),
        ]
    )
    batch = site.ended(batch_id)
    assert batch["status"] == "completed"
    assert (batch["counts"]["completed"], batch["counts"]["failed"]) == (1, 2)
    failed = {line["custom_id"]: line for line in lines(site, batch_id, ok=False)}
    assert failed.keys() == {"bad", "twin"}
    for line in failed.values():
        assert line["error"] is None and line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"]["code"] == "too_odd"
        assert line["response"]["body"]["error"].keys() == {"message", "type", "param", "code"}
    assert batch["output_file_id"] and batch["error_file_id"]


def test_a_passing_fault_is_tried_again_and_is_no_excess(site: Site) -> None:
    faults = [
        "status=500",
        "status=503;retry-after-ms=50",
        "status=429;retry-after-ms=50",
        "truncated",
        "html",
        "empty",
    ]
    before = site.called()
    batch_id = site.submit([chat_line(fault, f"shaky [[sim:{fault};times=1]]") for fault in faults])
    counts = site.ended(batch_id)["counts"]
    assert (counts["completed"], counts["calls"], counts["excess"]) == (6, 12, 0)
    assert site.called() - before == 12
    assert [doc["calls"] for doc in site.results(batch_id)] == [2] * 6


def test_a_fault_that_stays_ends_in_the_providers_words_after_all_attempts(site: Site) -> None:
    batch_id = site.submit([chat_line("c", "broken [[sim:status=502;html]]")])
    counts = site.ended(batch_id)["counts"]
    assert (counts["failed"], counts["calls"], counts["excess"]) == (1, 3, 0)
    (line,) = lines(site, batch_id, ok=False)
    assert line["response"]["status_code"] == 502
    assert line["response"]["body"]["error"]["message"] == "status 502 with a web page: Bad gateway"


def test_a_limit_parks_shards_for_that_reason_and_every_call_keeps_it(site: Site) -> None:
    first = len(site.simulator.calls())
    batch_id = site.submit([chat_line(f"c{n}", f"slow {n}", model="limited/sim-small") for n in range(10)])

    def parked() -> bool:
        rows = site.stores.shards.by_state(batch_id)
        return any((row["status"], row["reason"]) == ("queued", "limit") for row in rows)

    eventually(parked, 10.0)
    batch = site.ended(batch_id)
    assert batch["counts"]["completed"] == 10
    times = sorted(call["time"] for call in site.simulator.calls()[first:])
    assert len(times) == 10
    # Redis began without a burst: the calls come one step after another, but for the jitter of two loops.
    step_s = 60 / LIMITED_RPM
    for number, time_s in enumerate(times):
        assert time_s - times[0] >= (number - 1) * step_s - 0.05, times
    assert all(shard["takeovers"] == 0 for shard in site.shards(batch_id))


def test_a_cancel_in_the_middle_closes_what_never_ran(site: Site) -> None:
    batch_id = site.submit([chat_line(f"c{n}", f"late {n} [[sim:latency-ms=250]]") for n in range(80)])
    eventually(lambda: site.recorded(batch_id) >= 4, 10.0)
    assert site.stores.batches.cancel(batch_id)
    batch = site.ended(batch_id)
    assert batch["status"] == "cancelled" and batch["cancelled_at"]
    counts = batch["counts"]
    assert counts["completed"] >= 4 and counts["never_ran"] > 0 and counts["failed"] == 0
    assert counts["completed"] + counts["never_ran"] == batch["total"] == 80
    assert site.recorded(batch_id) == 80
    closing = lines(site, batch_id, ok=False)
    assert {line["error"]["code"] for line in closing} == {"batch_cancelled"}
    assert all(line["response"] is None and line["custom_id"] for line in closing)
    assert {shard["status"] for shard in site.shards(batch_id)} <= {"closed", "done"}
    assert len(lines(site, batch_id, ok=True)) == counts["completed"]


def test_every_problem_of_a_file_is_named_and_nothing_is_called(site: Site) -> None:
    before = site.called()
    batch_id = site.submit(
        [chat_line("a", "x"), b"{broken", chat_line("a", "y"), chat_line("b", "z", model="none")]
    )
    batch = site.ended(batch_id)
    assert batch["status"] == "failed" and batch["total"] == 0
    assert Counter(error["code"] for error in batch["errors"]) == {
        "invalid_json_line": 1,
        "duplicate_custom_id": 1,
        "model_not_found": 1,
    }
    assert [error["line"] for error in batch["errors"]] == [2, 3, 4]
    assert site.called() == before and site.shards(batch_id) == [] and site.recorded(batch_id) == 0


def test_bad_lines_are_skipped_into_the_error_file_where_the_batch_says_so(site: Site) -> None:
    batch_id = site.submit(
        [chat_line("a", "kept 1"), b"{broken", chat_line("c", "kept 2")], options={"invalid_lines": "skip"}
    )
    batch = site.ended(batch_id)
    assert (batch["total"], batch["counts"]["completed"], batch["counts"]["failed"]) == (3, 2, 1)
    (problem,) = lines(site, batch_id, ok=False)
    assert problem["error"]["code"] == "invalid_json_line" and problem["custom_id"] is None


def logged(worker: WorkerProcess, event: str, **fields: object) -> list[dict[str, Any]]:
    """Lines of the worker's log about an event, with these fields; every line is one JSON object."""
    found = [json.loads(line) for line in worker.log_path.read_text().splitlines()]
    return [line for line in found if line["event"] == event and fields.items() <= line.items()]


def test_its_own_page_says_that_it_is_ready_and_what_it_has_counted(worker: WorkerProcess) -> None:
    (line,) = logged(worker, "own page")
    url = f"http://{line['address']}"
    eventually(
        lambda: httpx.get(f"{url}/ready").status_code == 200, 10, what=lambda: httpx.get(f"{url}/ready").text
    )
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert "batchwright_" in httpx.get(f"{url}/metrics").text


def test_a_shard_is_one_line_with_its_ids_and_neither_prompts_answers_nor_keys_are_in_the_log(
    site: Site, worker: WorkerProcess
) -> None:
    prompts = [f"planted-{n}-of-nobody" for n in range(30)]
    batch_id = site.submit([chat_line(f"c{n}", prompt) for n, prompt in enumerate(prompts)])
    site.ended(batch_id)

    eventually(lambda: len(logged(worker, "shard", batch_id=batch_id)) == 2, 5)

    shards = logged(worker, "shard", batch_id=batch_id)
    assert {line["shard_id"] for line in shards} == {shard["_id"] for shard in site.shards(batch_id)}
    assert sum(line["items"] for line in shards) == sum(line["calls"] for line in shards) == 30
    assert {(line["worker"], line["provider"], line["outcome"]) for line in shards} == {("w1", "sim", "done")}
    text = worker.log_path.read_text()
    answers = [
        line["response"]["body"]["choices"][0]["message"]["content"]
        for line in lines(site, batch_id, ok=True)
    ]
    assert not [word for word in (*prompts, *answers) if word in text]


def test_a_limit_in_the_settings_file_is_raised_by_a_signal_and_a_wrong_file_changes_nothing(
    site: Site, worker: WorkerProcess
) -> None:
    config = site.directory / "batchwright.toml"
    right = config.read_text()
    config.write_text(right.replace("requests_per_minute", "requests_per_minuet"))
    worker.process.send_signal(signal.SIGHUP)
    eventually(lambda: "requests_per_minuet" in worker.log_path.read_text(), 10)
    assert not logged(worker, "settings read anew")

    config.write_text(right.replace(f"requests_per_minute = {LIMITED_RPM}", "requests_per_minute = 60000"))
    worker.process.send_signal(signal.SIGHUP)
    eventually(lambda: logged(worker, "settings read anew"), 10)
    config.write_text(right)

    (line,) = logged(worker, "settings read anew")
    assert line["changed"] == [f"limited: requests_per_minute {LIMITED_RPM} -> 60000"]
    assert line["needs_restart"] == []

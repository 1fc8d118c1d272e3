"""Parts of a table are sent once, a few at a time, and never over one ceiling of money."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import pytest

from app.cli.follow import Followed
from app.cli.progress import View
from app.cli.table_outcome import TableOutcome, merged, row_of_table
from app.cli.table_parts import MOST_OPEN, Parts, part_batches, run_key_of
from app.client.blocking import Client
from app.client.calls import BatchRequest
from app.client.errors import ApiRefused
from app.client.models import BatchInfo, FileInfo, Page, batch_from
from app.tables.asking import Asking
from app.tables.cutting import CheckedTable, Limits, check
from app.tables.formats import open_table
from app.tables.template import parse

MARKS = {"cache": True}


def batch(number: int, status: str = "in_progress", *, cost: float = 0.0, **ours: Any) -> BatchInfo:
    known: dict[str, Any] = {"id": f"batch_{number}", "status": status, "endpoint": "/v1/chat/completions"}
    known |= {"input_file_id": "file-1", "created_at": 1, "output_file_id": f"file-{number}"}
    done = 2 if status == "completed" else 0
    counts = {"total": 2, "completed": done, "failed": 0}
    return batch_from(
        known | {"request_counts": counts, "batchwright": {"cost_usd": cost, "recorded": done} | ours}
    )


class Server:
    """Remembers batches by run_key, and what was done to them."""

    def __init__(self) -> None:
        self.batches: dict[str, list[BatchInfo]] = {}
        self.created: list[BatchRequest] = []
        self.changed: list[tuple[str, str, float | None]] = []
        self.gone_files: set[str] = set()

    def list(self, *, run_key: str, limit: int) -> Page:
        return Page(tuple(self.batches.get(run_key, [])[:limit]), False)

    def upload(self, file: BinaryIO, *, filename: str | None = None) -> FileInfo:
        assert file.read()
        return FileInfo("file-in", str(filename), 1, "batch", 1, {})

    def create_batch(self, request: BatchRequest) -> BatchInfo:
        self.created.append(request)
        assert request.run_key is not None
        made = batch(len(self.created), max_cost_usd=request.max_cost_usd)
        self.batches.setdefault(request.run_key, []).insert(0, made)
        return made

    def file(self, file_id: str) -> FileInfo:
        if file_id in self.gone_files:
            raise ApiRefused("gone", status=404, code=None)
        return FileInfo(file_id, "x", 1, "batch", 1, {})

    def get(self, batch_id: str) -> BatchInfo:
        return next(each for made in self.batches.values() for each in made if each.id == batch_id)

    def pause(self, batch_id: str) -> BatchInfo:
        self.changed.append(("pause", batch_id, None))
        return self.get(batch_id)

    def cancel(self, batch_id: str) -> BatchInfo:
        self.changed.append(("cancel", batch_id, None))
        return self.get(batch_id)

    def resume(self, batch_id: str, *, max_cost_usd: float | None = None) -> BatchInfo:
        self.changed.append(("resume", batch_id, max_cost_usd))
        return self.get(batch_id)


class Silent:
    """A display that shows nothing."""

    def note(self, text: str) -> None: ...

    def stage(self, text: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def update(self, view: View) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@pytest.fixture
def table(tmp_path: Path) -> CheckedTable:
    path = tmp_path / "in.csv"
    path.write_text("n\n" + "".join(f"{number}\n" for number in range(12)))
    return check(open_table(path), Asking(parse("{n}"), "m"), (), Limits(2, 10_000, 1_000))


def parts_of(table: CheckedTable, server: Server, **more: Any) -> Parts:
    request = BatchRequest(
        input_file_id="", endpoint="/v1/chat/completions", metadata={"batchwright_table": "in"}
    )
    return Parts(table, cast("Client", server), Silent(), request, MARKS, **more)


def run_all(parts: Parts, end: Callable[[Followed], None]) -> list[Followed]:
    """Start whatever may start, let the oldest end, and so on."""
    watched: list[Followed] = []
    while True:
        added = parts.next(watched)
        if added is not None:
            watched.append(added)
            assert sum(each.seconds is None for each in watched) <= MOST_OPEN
            continue
        running = next((each for each in watched if each.seconds is None), None)
        if running is None:
            return watched
        end(running)


def completed(each: Followed, cost: float = 0.0) -> None:
    number = int(each.batch.id.partition("_")[2])
    each.batch, each.seconds = batch(number, "completed", cost=cost), 1.0


def test_each_part_is_sent_once_in_order_with_its_place_in_the_table(table: CheckedTable) -> None:
    server = Server()
    watched = run_all(parts_of(table, server), completed)
    assert len(watched) == 6
    assert [(request.metadata or {})["part"] for request in server.created] == [f"{n}/6" for n in range(1, 7)]
    assert [request.run_key for request in server.created] == [
        run_key_of(part, MARKS) for part in table.parts
    ]


def test_four_parts_are_open_at_once_and_the_next_waits_for_one_of_them(table: CheckedTable) -> None:
    parts, watched = parts_of(table, Server()), list[Followed]()
    while (added := parts.next(watched)) is not None:
        watched.append(added)
    assert len(watched) == MOST_OPEN
    completed(watched[2])
    assert parts.next(watched) is not None


def test_what_is_whole_is_not_sent_again_and_what_is_unfinished_goes_on(table: CheckedTable) -> None:
    # Given parts of an earlier run: whole, unfinished, paused by a person, expired, and whole without its file
    server = Server()
    states = [
        batch(11, "completed"),
        batch(12),
        batch(13, paused=True, pause_reason="user"),
        batch(14, "expired"),
        batch(15, "completed"),
    ]
    for part, each in zip(table.parts, states, strict=False):
        server.batches[run_key_of(part, MARKS)] = [each]
    server.gone_files.add("file-15")
    watched = run_all(parts_of(table, server), completed)
    assert [each.batch.id for each in watched] == [
        "batch_11",
        "batch_12",
        "batch_13",
        "batch_1",
        "batch_2",
        "batch_3",
    ]
    assert server.changed == [("resume", "batch_13", None)]


def test_starting_anew_ends_what_is_under_way_and_sends_everything(table: CheckedTable) -> None:
    server = Server()
    server.batches[run_key_of(table.parts[0], MARKS)] = [batch(11)]
    server.batches[run_key_of(table.parts[1], MARKS)] = [batch(12, "completed")]
    run_all(parts_of(table, server, fresh=True), completed)
    assert len(server.created) == 6
    assert server.changed == [("cancel", "batch_11", None)]


def test_under_a_ceiling_each_part_gets_what_the_others_have_left_and_none_runs_beside_it(
    table: CheckedTable,
) -> None:
    server = Server()
    parts = parts_of(table, server, ceiling_usd=1.0)
    watched = run_all(parts, lambda each: completed(each, cost=0.3))
    assert [request.max_cost_usd for request in server.created] == pytest.approx([1.0, 0.7, 0.4, 0.1])
    # When the fourth has cost more than the 0.1 that were left, nothing more is started
    assert parts.out_of_money
    outcome = merged(table, watched, 1.0, out_of_money=True)
    assert outcome.exit_code == 4
    assert not outcome.is_ended


def test_a_ceiling_counts_what_later_parts_of_an_earlier_run_have_cost_and_halts_them(
    table: CheckedTable,
) -> None:
    server = Server()
    server.batches[run_key_of(table.parts[1], MARKS)] = [batch(12, cost=0.25)]
    server.batches[run_key_of(table.parts[2], MARKS)] = [batch(13, "completed", cost=0.5)]
    parts, watched = parts_of(table, server, ceiling_usd=1.0), list[Followed]()
    added = parts.next(watched)
    assert added is not None
    assert server.created[0].max_cost_usd == pytest.approx(0.25)
    assert server.changed == [("pause", "batch_12", None)]
    watched.append(added)
    completed(added, cost=0.1)
    # Then the halted one goes on with what is left: its own costs count towards its ceiling
    parts.next(watched)
    (_, (verb, resumed, ceiling_usd)) = server.changed
    assert (verb, resumed) == ("resume", "batch_12")
    assert ceiling_usd == pytest.approx(0.4)


def test_a_part_at_its_ceiling_stops_the_rest(table: CheckedTable) -> None:
    server = Server()

    def rest(each: Followed) -> None:
        each.batch, each.seconds = batch(1, paused=True, pause_reason="budget"), 1.0

    watched = run_all(parts_of(table, server, ceiling_usd=1.0), rest)
    assert len(watched) == len(server.created) == 1
    assert merged(table, watched, 1.0, out_of_money=False).exit_code == 4


def test_looking_at_what_there_is_sends_nothing(table: CheckedTable) -> None:
    server = Server()
    server.batches[run_key_of(table.parts[1], MARKS)] = [batch(12)]
    found = part_batches(cast("Client", server), table, MARKS)
    assert [each.id for each in found] == ["batch_12"]
    assert not server.created
    assert not server.changed


def outcome_of(table: CheckedTable, *batches: BatchInfo) -> TableOutcome:
    return merged(
        table, [Followed("in", each, 5.0, seconds=2.0) for each in batches], None, out_of_money=False
    )


def test_parts_are_shown_as_one_bar_over_the_whole_table() -> None:
    row = row_of_table("in.csv", 12, [batch(1, "completed"), batch(2, "completed")])
    assert (row.name, row.total, row.done, row.status) == ("in.csv", 12, 4, "in_progress")
    assert row_of_table("in.csv", 2, [batch(1, "completed")]).status == "completed"
    assert row_of_table("in.csv", 12, []).total == 12


def test_the_outcome_is_the_sum_of_the_parts(table: CheckedTable) -> None:
    whole = outcome_of(table, *(batch(n, "completed", cost=0.5, calls=2) for n in range(6)))
    assert whole.is_ended
    assert whole.exit_code == 0
    said = whole.as_json()
    assert (said["table"], said["parts"], said["total"], said["completed"]) == ("in.csv", 6, 12, 12)
    assert (said["calls"], said["cost_usd"], said["seconds"]) == (12, 3.0, 2.0)
    assert len(said["batch_ids"]) == 6
    assert outcome_of(table, batch(1, "completed"), batch(2, "expired")).batch.status == "expired"


def test_a_table_that_an_earlier_run_has_answered_says_that_nothing_was_sent(table: CheckedTable) -> None:
    # Given parts that were whole, and answered from the cache, when this run found them
    rows = len(table.parts) * 2
    ended = batch(11, "completed", cached=2)
    found = [Followed("t", ended, 0.0, done_before=ended.done, seconds=0.0) for _ in table.parts]
    again = replace(merged(table, found, None, out_of_money=False), missing={})
    assert (again.batch.total, again.done_before) == (table.rows, rows)
    said = [remark for remark in again.remarks() if "earlier run" in remark or "cache" in remark]
    # Then that alone is said, and of a first run it is not
    assert said == ["all rows were asked by an earlier run: nothing was sent; --fresh starts anew"]
    assert not any("earlier run" in remark for remark in replace(again, done_before=0).remarks())

"""Lines become shards: each line in exactly one, within every bound, the same each time."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.choose import Chosen
from workers.core.messages import Item, LineProblem, ShardPlan, pack_items, unpack_items
from workers.core.planner import (
    FEWEST_ITEMS,
    MAX_PROBLEMS,
    Planner,
    PlanRules,
    ShardLimits,
    problem_rows,
    shard_limits,
)

CHAT = "/v1/chat/completions"
ROOMY = ShardLimits(max_items=500, max_line_bytes=10**9, max_span_bytes=10**9)


def request(custom_id: str, *, model: str = "sim-small", text: str = "hi") -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}).encode()


def by_first_letter(_: str, model: str, __: Mapping[str, Any]) -> Chosen | None:
    provider = {"s": "sim", "o": "other"}.get(model[0])
    return Chosen(provider, model) if provider else None


class File:
    """Lines with their offsets, and the planner's look back into them."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.lines: list[tuple[bytes, int, int]] = []
        offset = 0
        for number, raw in enumerate(lines, start=1):
            self.lines.append((raw, number, offset))
            offset += len(raw) + 1

    def custom_id_at(self, offset: int) -> str:
        raw = next(raw for raw, _, start in self.lines if start == offset)
        return str(json.loads(raw)["custom_id"])

    def plan(self, **rules: Any) -> tuple[Planner, list[ShardPlan], list[LineProblem]]:
        limits: ShardLimits = rules.pop("limits", ROOMY)
        planner = Planner(
            PlanRules(
                endpoint=CHAT,
                choose=rules.pop("choose", by_first_letter),
                limits_of=lambda _: limits,
                custom_id_at=self.custom_id_at,
                **rules,
            )
        )
        shards: list[ShardPlan] = []
        problems: list[LineProblem] = []
        for raw, number, offset in self.lines:
            closed, problem = planner.feed(raw, number, offset)
            shards += closed
            problems += [problem] if problem else []
        return planner, shards + planner.finish(), problems


LINES = st.one_of(
    st.builds(
        request,
        st.text("abc", min_size=1, max_size=3),
        model=st.sampled_from(["sim-small", "other-1", "nobody-has-it"]),
        text=st.text(max_size=60),
    ),
    st.binary(min_size=1, max_size=30).map(lambda raw: raw.replace(b"\n", b" ")),
)
LIMITS = st.builds(ShardLimits, st.integers(1, 6), st.integers(1, 1500), st.integers(1, 1500))


@given(st.lists(LINES, max_size=40), LIMITS)
def test_every_line_ends_in_exactly_one_shard_or_problem(lines: list[bytes], limits: ShardLimits) -> None:
    planner, shards, problems = File(lines).plan(limits=limits)
    planned = [item.line for shard in shards for item in shard.items]
    refused = [problem.line for problem in problems]
    assert sorted([*planned, *(line for line in refused if line)]) == list(range(1, len(lines) + 1))
    assert (planner.total, planner.problem_count) == (len(lines), len(problems))


@given(st.lists(LINES, max_size=40), LIMITS)
def test_no_shard_passes_a_bound_but_one_line_is_always_let_in(
    lines: list[bytes], limits: ShardLimits
) -> None:
    for shard in File(lines).plan(limits=limits)[1]:
        first, last = shard.items[0], shard.items[-1]
        assert 1 <= len(shard.items) <= limits.max_items
        assert shard.bytes == sum(item.length for item in shard.items)
        assert len(shard.items) == 1 or shard.bytes <= limits.max_line_bytes
        assert len(shard.items) == 1 or last.offset + last.length - first.offset <= limits.max_span_bytes


@given(st.lists(LINES, max_size=30), LIMITS)
def test_planning_twice_gives_the_same_shards_in_input_order(lines: list[bytes], limits: ShardLimits) -> None:
    file = File(lines)
    shards = file.plan(limits=limits)[1]
    assert shards == file.plan(limits=limits)[1]
    assert [shard.seq for shard in shards] == list(range(1, len(shards) + 1))
    for shard in shards:
        assert [item.line for item in shard.items] == sorted(item.line for item in shard.items)
        for item in shard.items:
            raw, _, offset = file.lines[item.line - 1]
            assert (item.offset, item.length) == (offset, len(raw))


@given(st.lists(LINES, max_size=30))
def test_a_shard_is_for_one_provider(lines: list[bytes]) -> None:
    file = File(lines)
    for shard in file.plan()[1]:
        models = {json.loads(file.lines[item.line - 1][0])["body"]["model"] for item in shard.items}
        assert {model[0] for model in models} == {shard.provider[0]}


@given(st.lists(LINES, max_size=30))
def test_an_items_twin_is_the_first_line_that_asks_the_same(lines: list[bytes]) -> None:
    file = File(lines)
    planner, shards, _ = file.plan()
    first: dict[str, int] = {}
    repeats = 0
    for item in sorted((item for shard in shards for item in shard.items), key=lambda item: item.line):
        body = json.dumps(json.loads(file.lines[item.line - 1][0])["body"], sort_keys=True)
        assert item.twin == first.get(body, 0)
        repeats += body in first
        first.setdefault(body, item.line)
    assert planner.repeats == repeats


def test_without_sharing_nobody_has_a_twin() -> None:
    planner, shards, _ = File([request("a"), request("b")]).plan(merge_equal=False)
    assert planner.repeats == 0 and all(item.twin == 0 for shard in shards for item in shard.items)


def test_a_repeated_custom_id_names_the_line_that_used_it_first() -> None:
    _, _, problems = File([request("a"), request("b"), request("a", text="other")]).plan()
    (problem,) = problems
    assert (problem.code, problem.param, problem.line) == ("duplicate_custom_id", "custom_id", 3)
    assert problem.message == "custom_id 'a' was already used on line 1."


def test_a_request_far_down_a_file_is_planned_and_named_like_any_other() -> None:
    # Empty lines count as lines: a file may have more line ends than any batch has requests.
    far = 2**25
    planner = Planner(
        PlanRules(CHAT, lambda *_: Chosen("sim", "m"), lambda _: ROOMY, custom_id_at=lambda offset: "a")
    )
    assert planner.feed(request("a"), far, far) == ([], None)
    _, problem = planner.feed(request("a", text="other"), far + 1, far + 200)
    assert problem is not None and problem.message.endswith(f"already used on line {far}.")
    (shard,) = planner.finish()
    assert [(item.line, item.offset) for item in unpack_items(pack_items(shard.items))] == [(far, far)]


def test_equal_fingerprints_of_different_ids_are_only_a_suspicion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.core.planner.hash64", lambda data: 42)
    _, shards, problems = File([request("a"), request("b")]).plan()
    assert problems == [] and sum(len(shard.items) for shard in shards) == 2


def test_a_line_over_the_bound_and_a_model_nobody_serves_are_named() -> None:
    lines = [request("a", text="x" * 300), request("b", model="nobody-has-it")]
    _, _, problems = File(lines).plan(max_line_bytes=200)
    assert [problem.code for problem in problems] == ["line_too_long", "model_not_found"]
    assert "batch.max_line_bytes" in problems[0].message and "'nobody-has-it'" in problems[1].message


def test_one_model_for_the_whole_batch_decides_the_provider() -> None:
    _, shards, _ = File([request("a", model="nobody-has-it")]).plan(model="other-9")
    assert shards[0].provider == "other"


def test_wrong_fields_of_ours_are_named_with_their_line() -> None:
    wrong = LineProblem("invalid_value", "Invalid value for 'task_type'.", "body.task_type", None)
    _, _, problems = File([request("a"), request("b")]).plan(choose=lambda *_: wrong)
    assert [(p.code, p.line, p.custom_id) for p in problems] == [
        ("invalid_value", 1, "a"),
        ("invalid_value", 2, "b"),
    ]


def test_a_ceiling_refuses_a_model_of_unknown_price_and_names_the_setting() -> None:
    _, _, problems = File([request("a")]).plan(has_price=lambda chosen: False)
    assert [problem.code for problem in problems] == ["unknown_price"]
    assert '[prices."' in problems[0].message


def test_a_hundred_problems_are_shown_and_the_rest_is_summed_up() -> None:
    planner, _, problems = File([b"{"] * 250).plan()
    rows = problem_rows(planner.problems, planner.problem_count)
    assert len(problems) == 250 and len(planner.problems) == MAX_PROBLEMS
    assert [row["line"] for row in rows[:-1]] == list(range(1, 101))
    assert rows[-1]["code"] == "more_errors" and str(rows[-1]["message"]).startswith("150 more")


@pytest.mark.parametrize(
    ("rpm", "items"), [(None, 500), (6000, 200), (600, 20), (6, FEWEST_ITEMS), (10**9, 500)]
)
def test_a_limited_provider_gets_shards_of_about_two_seconds(rpm: int | None, items: int) -> None:
    limits = shard_limits(
        max_items=500,
        max_line_bytes=1,
        max_span_bytes=1,
        slot_seconds=2.0,
        requests_per_minute=rpm,
    )
    assert limits.max_items == items


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)] * 2), max_size=9))
def test_packed_items_read_back(fields: list[tuple[int, int, int, int]]) -> None:
    items = [Item(line, offset, length % 2**32, twin % 2**32) for line, offset, twin, length in fields]
    assert unpack_items(pack_items(items)) == items


def test_twenty_thousand_lines_take_little_memory() -> None:
    planner = Planner(
        PlanRules(
            CHAT,
            lambda *_: Chosen("sim", "m"),
            lambda _: ROOMY,
            custom_id_at=lambda _: pytest.fail("a suspect"),
        )
    )
    offset = kept = 0
    try:
        for number in range(1, 20_001):
            if number == 16_250:
                # Tracing makes a line ten times as slow; from here on the indexes grow for the last time.
                tracemalloc.start()
            raw = (
                b'{"custom_id":"c%d","method":"POST","url":"%s","body":{"model":"m","messages":[],"n":%d}}'
                % (
                    number,
                    CHAT.encode(),
                    number,
                )
            )
            closed, problem = planner.feed(raw, number, offset)
            assert problem is None
            kept += sum(len(shard.items) for shard in closed)
            offset += len(raw) + 1
        kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept == 20_000
    # Two indexes of 65,536 slots of 16 bytes; an object of 90 bytes a line would add 0.34 MB.
    assert 2_000_000 < kept_bytes < 2_420_000 and peak_bytes < 3_250_000


@pytest.mark.parametrize(
    "first",
    [
        request("a", model="unknown"),
        request("a").replace(b'"method": "POST"', b'"method": "GET"'),
        json.dumps({"custom_id": "a", "method": "POST", "url": CHAT, "body": {"messages": []}}).encode(),
    ],
)
def test_a_custom_id_is_used_by_its_first_line_even_if_that_one_is_bad(first: bytes) -> None:
    """A retry with another model may mend that line: then two answers of one file would have the same custom_id."""
    _, _, problems = File([first, request("b"), request("a")]).plan(skip_invalid=True)
    assert [(each.line, each.code) for each in problems][1:] == [(3, "duplicate_custom_id")]
    assert "line 1" in problems[1].message

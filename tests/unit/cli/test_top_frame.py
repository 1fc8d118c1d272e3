"""A frame of `top` fits its terminal, drops what matters least, and shows what others named without obeying it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app.api.shapes_top import Top
from app.cli import top_rows
from app.cli.top_columns import Column, fitted, table
from app.cli.top_frame import Sight, View, frame, pressed, shares
from tests.support.top_replies import batch, provider, reply, worker

pytestmark = pytest.mark.fast
EVIL = "evil\x1b[31m\x1b]0;x\x07\nname"


def shown(
    data: Mapping[str, Any], view: View | None = None, width: int | None = 200, height: int | None = 60
) -> str:
    return "\n".join(line.plain for line in frame(Sight(data, "http://here"), view or View(), width, height))


def test_what_these_tests_show_is_what_the_server_gives() -> None:
    Top.model_validate(reply())


@given(
    width=st.integers(1, 220),
    height=st.integers(1, 70),
    numbers=st.tuples(st.integers(0, 60), st.integers(0, 9), st.integers(0, 9)),
    name=st.text(max_size=40),
    view=st.builds(View, first=st.integers(0, 70), held=st.booleans(), help=st.booleans()),
    trouble=st.sampled_from(["", "the server is away"]),
)
def test_a_frame_is_never_wider_or_higher_than_its_terminal(
    width: int, height: int, numbers: tuple[int, int, int], name: str, view: View, trouble: str
) -> None:
    data = reply(*numbers, away=["broker"], alerts=[{"name": name, "text": name, "since": None}] * 3)
    data["batches"] = [each | {"name": name, "model": name or None} for each in data["batches"]]
    lines = frame(Sight(data, "http://here", 5.0, trouble), view, width, height)
    assert len(lines) == height
    assert all(cell_len(line.plain) <= width for line in lines)


def test_a_narrow_terminal_drops_columns_and_cuts_no_number() -> None:
    narrow, wide = shown(reply(), width=60).splitlines(), shown(reply()).splitlines()
    titles = next(line for line in narrow if line.startswith("batch "))
    assert titles.split() == ["batch", "progress", "done", "items/s", "left"]
    row = next(line for line in narrow if line.startswith("words-0"))
    assert row.split()[-3:] == ["500/1k", "12", "40s"]
    assert "tenant" in next(line for line in wide if line.startswith("batch "))


def test_what_others_named_is_shown_and_not_obeyed() -> None:
    data = reply(alerts=[{"name": EVIL, "text": EVIL, "since": 1.0}], away=[])
    data["batches"] = [batch(name=EVIL, tenant=EVIL, model=EVIL, waiting_for=[reason(provider=EVIL)])]
    data["providers"], data["workers"] = [provider(name=EVIL)], [worker(name=EVIL)]
    text = shown(data, width=None, height=None)
    assert "\x1b" not in text and "\x07" not in text
    assert "evil\\u001b[31m\\u001b]0;x\\u0007\\nname" in text


def reason(**changed: Any) -> dict[str, Any]:
    there = {"kind": "limit", "provider": "acme", "requests": 9, "since": None, "until": 1_700_000_630}
    return there | changed


def test_a_batch_says_what_most_of_it_waits_for_until_when_and_that_there_is_more() -> None:
    one = batch(waiting_for=[reason(), reason(kind="queue", until=None)])
    assert top_rows.batch(one, 1_700_000_600.0)["waits for"] == ("limit (acme) 30s +1", "yellow")
    assert top_rows.batch(batch(), 0.0)["waits for"] == ("", "")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "ok"),
        ({"held_since": 1_700_000_000}, "held"),
        ({"breaker": "open", "breaker_opens_in_s": 12.0}, "open 12s"),
        ({"breaker": "half-open"}, "trying"),
        ({"breaker": None}, "unknown"),
        ({"rests_s": 4.2}, "rests 4s"),
        ({"slots": 0}, "no worker"),
    ],
)
def test_a_provider_says_what_holds_its_calls_back(changed: dict[str, Any], said: str) -> None:
    assert top_rows.provider(provider(**changed))["state"][0] == said


def test_the_use_of_limits_is_the_higher_of_requests_and_tokens() -> None:
    limits = {"requests_per_minute": 600, "tokens_per_minute": 13_000, "concurrency": None, "wait_s": 0.0}
    assert top_rows.provider(provider(limits=limits))["use"] == ("92 %", "yellow")
    assert top_rows.provider(provider())["use"][0] == "50 %"
    nothing = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrency"))
    assert top_rows.provider(provider(limits=nothing | {"wait_s": None}))["use"][0] == "-"


def test_nearly_all_is_not_said_to_be_all() -> None:
    assert top_rows.batch(batch(done=999, total=1000), 0.0)["progress"][0].endswith(" 99%")
    assert top_rows.batch(batch(done=1000, total=1000), 0.0)["progress"][0].endswith("100%")


def test_a_worker_of_another_version_and_a_silent_one_stand_out() -> None:
    data = reply()
    assert top_rows.worker(worker(version="0.0.9"), data)["version"] == ("0.0.9", "yellow")
    assert top_rows.worker(worker(alive=False, age_s=14.0), data)["state"] == ("silent 14s", "red")


@given(room=st.integers(0, 80), wants=st.tuples(*[st.integers(0, 60)] * 3))
def test_no_table_gets_more_lines_than_it_has_and_no_room_is_lost(
    room: int, wants: tuple[int, int, int]
) -> None:
    got = shares(room, *wants)
    assert all(0 <= one <= want for one, want in zip(got, wants, strict=True))
    assert sum(got) == min(room, sum(wants))


def test_batches_that_do_not_fit_are_counted_and_reached_by_scrolling() -> None:
    data = reply(batches=40)
    top = shown(data, height=24)
    assert "words-0.jsonl" in top and "words-39.jsonl" not in top and " more" in top
    view = View()
    for key in ("G",):
        view = pressed(key, view, 40) or view
    end = shown(data, view, height=24)
    assert "words-39.jsonl" in end and "words-0.jsonl" not in end


def test_keys_scroll_sort_hold_help_and_leave() -> None:
    view = View()
    assert pressed("q", view, 9) is None
    assert pressed("j", view, 9) == replace(view, first=1) and pressed("k", view, 9) == view
    assert pressed("down", replace(view, first=8), 9) == replace(view, first=8), "the last one stays in sight"
    assert pressed("p", view, 9) == replace(view, held=True) == pressed(" ", view, 9)
    assert pressed("x", view, 9) == view
    helping = pressed("?", view, 9)
    assert helping == replace(view, help=True) and "leave" in shown(reply(), helping)
    assert pressed("j", helping, 9) == view
    seen = [view.sort]
    for _ in top_rows.SORTS:
        view = pressed("s", view, 9) or view
        seen.append(view.sort)
    assert seen == [*top_rows.SORTS, top_rows.SORTS[0]]


def test_batches_are_sorted_by_what_was_chosen() -> None:
    rows = [
        batch(1, per_second=1.0, eta_s=None),
        batch(2, per_second=9.0, eta_s=5, failed=4),
        batch(3, per_second=None),
    ]
    order = {
        sort: [int(each["id"][6:], 16) for each in top_rows.ordered(rows, sort)] for sort in top_rows.SORTS
    }
    assert order == {
        "newest": [1, 2, 3],
        "rate": [2, 1, 3],
        "failed": [2, 1, 3],
        "time left": [2, 3, 1],
        "name": [1, 2, 3],
    }


@given(st.text(max_size=30), st.integers(0, 40))
def test_a_cell_has_exactly_the_width_of_its_column(text: str, width: int) -> None:
    clean = text.translate(dict.fromkeys(range(32), "?"))
    assert cell_len(fitted(clean, width)) == width or cell_len(clean) != len(clean)
    assert cell_len(fitted(clean, width)) <= width


def test_columns_go_by_rank_until_the_others_fit() -> None:
    columns = (Column("a", stretch=True, least=4), Column("bb", rank=1), Column("cc", rank=2))
    row = {"a": ("x" * 30, ""), "bb": ("12345", ""), "cc": ("12345", "")}
    assert table(columns, [row], 40)[0].plain.split() == ["a", "bb", "cc"]
    titles, (line,) = table(columns, [row], 12)
    assert titles.plain.split() == ["a", "bb"] and line.plain == "xxxx…  12345"
    assert table(columns, [row], None)[1][0].plain.startswith("x" * 30)

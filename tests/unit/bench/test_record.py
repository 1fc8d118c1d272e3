"""What a bench leaves: JSON in the promised shape, a table, a picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from app.bench.figures import Growth, Lap, Row
from app.bench.plot import scale, svg
from app.bench.record import Outcome, as_json
from app.bench.table import markdown

pytestmark = pytest.mark.fast
SVG = "{http://www.w3.org/2000/svg}"


def outcome() -> Outcome:
    laps = (Lap(1000, 0.5, 0.1), Lap(1000, 0.4, 0.1), Lap(1000, 1.0, 0.1))
    return Outcome(
        machine={"cpu": "a <fast> one", "cores": 2, "python": "3.11.7", "engine_core": 1},
        transport="pyreqwest",
        rules={"latency_ms": 50.0, "rounds": 3, "concurrency": 800},
        rows={
            "misses": {
                "batchwright": Row("batchwright", laps),
                "openai": Row("openai", (Lap(100, 1.0, 0.2),)).without("broke: it | ended"),
                "arq": Row("arq").without("not installed"),
            },
            "hits": {},
        },
        growth=[
            Growth(1000, 2000.0, 0.1, {"worker-1": {"peak_bytes": 170_000_000, "final_bytes": 160_000_000}})
        ],
    )


def test_the_record_has_the_promised_names() -> None:
    found = as_json(outcome())
    assert {"machine", "transport", "misses", "hits", "growth"} <= found.keys()
    ours = found["misses"]["batchwright"]
    assert (ours["items_per_s"], ours["cpu_ms"], ours["rounds"]) == (2000.0, 0.1, [2000.0, 2500.0, 1000.0])
    assert found["misses"]["arq"] == {"skipped": "not installed"}
    assert found["growth"][0]["items"] == 1000


def test_an_engine_that_broke_in_a_late_round_keeps_its_figures_and_its_reason() -> None:
    broken = as_json(outcome())["misses"]["openai"]
    assert broken["items_per_s"] == 100.0
    assert broken["skipped"] == "broke: it | ended"


def test_the_ratios_stand_beside_what_is_wanted() -> None:
    (ratio,) = as_json(outcome())["ratios"]
    assert ratio == {"kind": "misses", "to": "openai", "reached": 20.0, "wanted": 12.0, "met": True}


def test_every_line_of_a_table_has_as_many_cells_as_its_head() -> None:
    tables = [part.splitlines() for part in markdown(outcome()).split("\n\n") if part.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_picture_is_xml_with_a_bar_for_each_measured_engine_and_words_for_both_schemes() -> None:
    text = svg(outcome())
    root = ET.fromstring(text)
    names = [title.text for title in root.iter(f"{SVG}title")]
    assert names == ["batchwright: 2,000 items/s", "openai: 100 items/s"]
    assert "prefers-color-scheme: dark" in text


def test_a_picture_of_nothing_is_still_a_picture() -> None:
    empty = Outcome({}, "httpx", {}, {"misses": {}, "hits": {}}, [])
    assert not list(ET.fromstring(svg(empty)).iter(f"{SVG}rect"))


@pytest.mark.parametrize(
    ("rates", "decades"), [([144.0, 9500.0], (2, 4)), ([1000.0], (3, 4)), ([5.0, 7.0], (0, 1))]
)
def test_the_scale_encloses_every_rate_in_whole_decades(rates: list[float], decades: tuple[int, int]) -> None:
    assert scale(rates) == decades


@pytest.mark.parametrize(("skipped", "broken"), [(None, False), ("a wrong answer", True)])
def test_a_bench_is_broken_when_our_own_engine_is_and_not_when_another_is(
    skipped: str | None, broken: bool
) -> None:
    ours = Row("batchwright", skipped=skipped)
    found = Outcome({}, "httpx", {}, {"misses": {"batchwright": ours, "arq": Row("arq", skipped="gone")}}, [])
    assert found.is_broken is broken

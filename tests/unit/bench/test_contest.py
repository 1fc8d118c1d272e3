"""The rounds of a bench, and the stack they take place in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from app.bench.contest import Contest, Course, _Entrant
from app.bench.figures import Lap, Row
from app.bench.others import Broken
from app.bench.placement import Cores
from app.bench.prompts import Prompts
from app.bench.site import BenchCommands, Rules
from app.bench.telling import Telling
from app.embedded.commands import Plan, Wiring
from app.embedded.ports import PortWish
from app.embedded.process import ProcessSpec

pytestmark = pytest.mark.fast
PLAN = Plan(Path("data"), workers=1, api=PortWish("api"), simulator=PortWish("sim"))
WIRING = Wiring("redis://a", "redis://b", "mongodb://c", "http://d")


class Scripted:
    """An engine of a thousand items a second that breaks in the lap of that number, counted from 1."""

    def __init__(self, breaks_in: int = 0) -> None:
        self.laps: list[tuple[str, int]] = []
        self._breaks_in = breaks_in

    def miss(self, prompts: Prompts, count: int) -> Lap:
        self.laps.append((prompts.lap, count))
        if len(self.laps) == self._breaks_in:
            raise Broken("1 wrong answers")
        return Lap(count, count / 1000, 0.1)


def contest(**engines: Scripted) -> tuple[Contest, dict[str, _Entrant]]:
    said: list[str] = []
    course = Course(rounds=3, lap_s=2.0, most=40_000, only=frozenset())
    found = Contest(cast(Any, None), course, Path(), Telling(said.append, said.append))
    for name in engines:
        found.rows["misses"][name] = Row(name)
    return found, {name: _Entrant(name, engine.miss, None, "1.0") for name, engine in engines.items()}


def test_warm_up_tells_how_many_items_fill_a_lap_and_counts_for_nothing() -> None:
    engine = Scripted()
    games, entrants = contest(arq=engine)
    games._warm_up(entrants)
    assert entrants["arq"].items == 2000
    assert not games.rows["misses"]["arq"].laps
    games._round(0, entrants, None)
    assert engine.laps[-1] == ("0", 2000)


def test_an_engine_that_breaks_keeps_its_rounds_and_the_others_go_on_without_it() -> None:
    engine, other = Scripted(breaks_in=4), Scripted()
    games, entrants = contest(arq=engine, openai=other)
    games._warm_up(entrants)
    for number in range(3):
        games._round(number, entrants, None)
    rows = games.rows["misses"]
    assert (len(rows["arq"].laps), rows["arq"].skipped) == (1, "1 wrong answers")
    assert (len(rows["openai"].laps), rows["openai"].skipped) == (3, None)
    assert len(engine.laps) == 4


def test_an_engine_that_breaks_while_it_is_warmed_up_runs_no_round() -> None:
    games, entrants = contest(arq=Scripted(breaks_in=1))
    games._warm_up(entrants)
    assert not entrants
    assert games.rows["misses"]["arq"].skipped == "1 wrong answers"


def cores_of(spec: ProcessSpec) -> str:
    return spec.argv[5] if "-c" in spec.argv else "any"


def test_the_worker_has_the_engines_core_and_simulator_and_api_have_the_others() -> None:
    commands = BenchCommands(Rules(800, "auto", 50.0, Cores(2, (0, 1))))
    (worker,) = commands.portless(PLAN, WIRING)
    simulator = commands.simulator(PLAN, 1)
    assert (cores_of(worker), cores_of(simulator), cores_of(commands.api(PLAN, WIRING, 2))) == (
        "2",
        "0,1",
        "0,1",
    )
    assert simulator.argv[-4:] == ("--latency-ms", "50", "--seed", "7")


def test_where_nobody_can_be_bound_the_processes_are_started_as_they_are() -> None:
    (worker,) = BenchCommands(Rules(800, "auto", 50.0, Cores())).portless(PLAN, WIRING)
    assert worker.argv[1:3] == ("-m", "workers.main")


def test_a_hit_asks_for_as_many_as_the_miss_before_it_even_when_the_next_lap_is_longer() -> None:
    engine = Scripted()
    games, entrants = contest(litellm_cache=engine)
    games.rows["hits"]["litellm_cache"] = Row("litellm_cache")
    entrants["litellm_cache"].hit = engine.miss
    entrants["litellm_cache"].items = 500  # too few: a lap of two seconds holds 2,000
    games._round(0, entrants, None)
    games._round(1, entrants, None)
    assert [count for _, count in engine.laps] == [500, 500, 2000, 2000]

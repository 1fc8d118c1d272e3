"""The rounds: every engine once a round, in turning order, each alone at work.

A first lap of each, which counts for nothing, opens its connections and tells how many items keep it busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bench.figures import OURS, Kind, Lap, Row, in_turn, lap_items
from app.bench.others import INSERT_MANY, OTHERS, Broken, Other, OtherProcess, interpreter
from app.bench.ours import Ours
from app.bench.prompts import MODEL, Prompts
from app.bench.site import Site
from app.bench.telling import Telling
from app.version import VERSION

_BULK = 500  # as many results as our recorder puts into one bulk
_LEAST = 100
# Our engine works on eight shards of 500 at once, and the raw pyreqwest loop waits for hundreds of calls: fewer items
# would measure their first and their last moment alone. The others are busy from the first call on.
_LEAST_OF_MANY = 4000


@dataclass(frozen=True, slots=True)
class Course:
    """How much is run.

    Attributes:
        lap_s: about how long a lap takes; an engine gets as many items as it answers in it.
        most: items of a lap, at most.
    """

    rounds: int
    lap_s: float
    most: int
    only: frozenset[str]

    def wants(self, name: str) -> bool:
        """Whether this engine takes part."""
        return not self.only or name in self.only


@dataclass(slots=True)
class _Entrant:
    """One engine of the contest and how it is driven."""

    name: str
    miss: Callable[[Prompts, int], Lap]
    hit: Callable[[Prompts, int], Lap] | None
    version: str
    least: int = _LEAST
    items: int = _LEAST


class Contest:
    """All rounds of one bench; `rows` is what came of them."""

    def __init__(self, site: Site, course: Course, bench_python: Path, tell: Telling) -> None:
        self._site, self._course, self._python, self._tell = site, course, bench_python, tell
        self._ours = Ours(site)
        self.rows: dict[Kind, dict[str, Row]] = {"misses": {}, "hits": {}}

    def run(self) -> None:
        """Everything; a broken engine leaves its reason in its row."""
        with self._processes() as processes:
            entrants = self._entrants(processes)
            inserting = processes.get(INSERT_MANY.name)
            self._warm_up(entrants)
            for number in range(self._course.rounds):
                self._round(number, entrants, inserting)

    @contextmanager
    def _processes(self) -> Iterator[dict[str, OtherProcess]]:
        found: dict[str, OtherProcess] = {}
        try:
            for other in (*OTHERS, INSERT_MANY):
                if self._course.wants(other.name):
                    self._start(other, found)
            for name, process in list(found.items()):
                self._tell.step(f"waiting for {name}")
                with self._may_break(name, found):
                    process.until_ready()
            yield found
        finally:
            for process in found.values():
                process.stop()

    def _start(self, other: Other, found: dict[str, OtherProcess]) -> None:
        with self._may_break(other.name, found):
            if other is INSERT_MANY and not self._course.wants(OURS):
                raise Broken(f"it inserts what {OURS} has written, which does not run")
            python = interpreter(other, self._python)
            rules: Mapping[str, Any] = {**self._site.address, "model": MODEL}
            found[other.name] = OtherProcess(
                other, rules, self._site.rules.cores, self._site.directory, python
            )

    @contextmanager
    def _may_break(self, name: str, found: dict[str, OtherProcess]) -> Iterator[None]:
        try:
            yield
        except Broken as broken:
            self._skip(name, str(broken))
            process = found.pop(name, None)
            if process is not None:
                process.stop()

    def _skip(self, name: str, why: str) -> None:
        self._tell.note(f"{name}: {why}")
        for kind in _kinds_of(name):
            rows = self.rows[kind]
            rows[name] = rows.get(name, Row(name)).without(why)

    def _entrants(self, processes: Mapping[str, OtherProcess]) -> dict[str, _Entrant]:
        found = {}
        if self._course.wants(OURS):
            found[OURS] = _Entrant(OURS, self._ours.miss, self._ours.hit, VERSION, _LEAST_OF_MANY)
        for name, process in processes.items():
            if name != INSERT_MANY.name:
                lap = _lap_of(process)
                hit = lap if name == "litellm_cache" else None
                least = _LEAST_OF_MANY if name == "raw_pyreqwest" else _LEAST
                found[name] = _Entrant(name, lap, hit, process.version, least)
        for name, entrant in found.items():
            for kind in _kinds_of(name):
                self.rows[kind][name] = Row(name, version=entrant.version)
        if INSERT_MANY.name in processes:
            self.rows["hits"][INSERT_MANY.name] = Row(
                INSERT_MANY.name, version=processes[INSERT_MANY.name].version
            )
        return found

    def _warm_up(self, entrants: dict[str, _Entrant]) -> None:
        for entrant in list(entrants.values()):
            self._tell.step(f"warming up {entrant.name}")
            try:
                # The first lap makes connections and loads what is loaded late; the second tells the rate.
                lap = entrant.miss(Prompts("warm"), _LEAST * 2)
                lap = entrant.miss(Prompts("warmer"), self._items(entrant, lap, lap_s=0.3))
            except Broken as broken:
                self._skip(entrant.name, str(broken))
                del entrants[entrant.name]
            else:
                entrant.items = self._items(entrant, lap, lap_s=self._course.lap_s)

    def _items(self, entrant: _Entrant, lap: Lap, *, lap_s: float) -> int:
        return lap_items(lap.items_per_s, seconds=lap_s, least=entrant.least, most=self._course.most)

    def _round(self, number: int, entrants: dict[str, _Entrant], inserting: OtherProcess | None) -> None:
        prompts = Prompts(str(number))
        for name in in_turn(list(entrants), number):
            entrant = entrants[name]
            count = entrant.items  # a hit asks what the miss has asked
            self._tell.step(f"round {number + 1}: {name}")
            try:
                self._note("misses", name, number, entrant.miss(prompts, count))
                if entrant.hit is not None:
                    self._note("hits", name, number, entrant.hit(prompts, count))
                if name == OURS and inserting is not None:
                    self._insert(inserting, number)
            except Broken as broken:
                self._skip(name, str(broken))
                del entrants[name]
            else:
                # A warm-up that was disturbed promised too little: the next lap is as long as it should be.
                last = self.rows["misses"][name].laps[-1]
                entrant.items = max(count, self._items(entrant, last, lap_s=self._course.lap_s))

    def _insert(self, inserting: OtherProcess, number: int) -> None:
        try:
            lap = inserting.lap({"batch_id": self._ours.last_batch, "bulk": _BULK})
        except Broken as broken:
            self._skip(INSERT_MANY.name, str(broken))
        else:
            self._note("hits", INSERT_MANY.name, number, lap)

    def _note(self, kind: Kind, name: str, number: int, lap: Lap) -> None:
        rows = self.rows[kind]
        rows[name] = rows[name].with_lap(lap)
        self._tell.note(
            f"round {number + 1}, {kind}: {name} {lap.items_per_s:,.0f} items/s, {lap.cpu_ms:.3f} ms CPU each "
            f"({lap.items:,} items)"
        )


def _lap_of(process: OtherProcess) -> Callable[[Prompts, int], Lap]:
    return lambda prompts, count: process.lap(
        {"prompts": prompts.texts(count), "answers": prompts.answers(count)}
    )


def _kinds_of(name: str) -> tuple[Kind, ...]:
    if name == INSERT_MANY.name:
        return ("hits",)
    return ("misses", "hits") if name in (OURS, "litellm_cache") else ("misses",)

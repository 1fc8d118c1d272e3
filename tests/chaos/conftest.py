"""Faults against the real stack. Only `make chaos`, `make chaos-quick` and `make soak` run them.

A test is a row of the fault list: `@pytest.mark.fault("3", "kill -9 a worker during calls")`. It opens an arena by
`arena_of(Rules(...))`, breaks something, and lets the oracle judge by `verdict(arena, Expected(...))`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.arena import Arena, open_arena
from tests.chaos.oracle import Expected, Finding, judge
from tests.chaos.report import Row, as_text, write_into
from tests.chaos.rules import Rules

_ROWS = pytest.StashKey[dict[str, Row]]()
ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a person may choose for a run."""
    group = parser.getgroup("chaos")
    group.addoption(
        "--chaos-seed", type=int, default=7, help="prompts, answers and random schedules follow from it"
    )
    group.addoption("--chaos-items", type=int, default=400, help="items of each row")
    group.addoption("--soak-items", type=int, default=10_000, help="items of the soak")
    group.addoption("--soak-every", type=float, default=4.0, help="seconds between two faults of the soak")
    group.addoption("--chaos-report", type=Path, help="write the table into this page, between its marks")


def pytest_configure(config: pytest.Config) -> None:
    """A place for the rows."""
    config.stash[_ROWS] = {}


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run."""
    return int(request.config.getoption("--chaos-seed"))


@pytest.fixture
def items(request: pytest.FixtureRequest) -> int:
    """How many items a row works on."""
    return int(request.config.getoption("--chaos-items"))


@pytest.fixture
def arena_of(tmp_path: Path) -> Iterator[Callable[[Rules], Arena]]:
    """Open an arena; it is closed after the test."""
    with ExitStack() as closing:
        yield lambda rules: closing.enter_context(open_arena(tmp_path / "arena", rules))


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Callable[[Arena, Expected], Finding]:
    """Let the oracle judge: the row goes into the table, and what is broken fails the test."""

    def conclude(arena: Arena, expected: Expected) -> Finding:
        found = judge(arena, expected)
        row = _row_of(request.node)
        request.config.stash[_ROWS][request.node.nodeid] = replace(
            row,
            seed=arena.rules.seed,
            accepted=found.accepted,
            recorded=found.recorded,
            excess=f"{found.excess_seen} / {found.excess_reported}",
            recovery_s=found.recovery_s,
            peak_mb=found.peak_mb,
        )
        assert not found.broken, "\n".join([*found.broken, arena.how_it_stands()])
        return found

    return conclude


def pytest_itemcollected(item: pytest.Item) -> None:
    """`-k laptop` finds the row by the words that the table has for it."""
    marker = item.get_closest_marker("fault")
    if marker is not None:
        item.extra_keyword_matches.update(marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every row of the list stands in the table, those that failed or were left out, too."""
    report = yield
    rows = item.config.stash[_ROWS]
    if item.get_closest_marker("fault") and (call.when == "call" or report.outcome != "passed"):
        row = rows.get(item.nodeid) or _row_of(item)
        rows[item.nodeid] = replace(row, verdict=_verdict(report))
    return report


def _verdict(report: pytest.TestReport) -> str:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return f"left out: {reason.removeprefix('Skipped: ')}"
    return "held" if report.passed else "BROKEN"


def _row_of(item: pytest.Item) -> Row:
    marker = item.get_closest_marker("fault")
    assert marker is not None, f"{item.nodeid} says no fault"
    number, what = marker.args
    case = getattr(item, "callspec", None)
    words = f"{what}: {case.id}" if case is not None else what
    return Row(number, words, seed=int(item.config.getoption("--chaos-seed")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table."""
    rows = list(config.stash[_ROWS].values())
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(as_text(rows))
    terminalreporter.write_line(
        "excess: calls repeated as the provider saw them / as the batches report them"
    )
    page = config.getoption("--chaos-report")
    if page:
        options = " ".join(f"{name} {config.getoption(name)}" for name in ("--chaos-items", "--chaos-seed"))
        when = time.strftime("%Y-%m-%d")
        words = f"{when}, {platform.machine()}, Python {platform.python_version()}, `{options}`."
        write_into(ROOT / page, rows, words)

"""What every test may ask for: servers, a simulator, and how hard hypothesis looks."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

pytest_plugins = [
    "tests.support.abilities",
    "tests.support.authorities",
    "tests.support.command_line",
    "tests.support.servers",
    "tests.support.simulator",
]

# Thousands of collected tests live to the end: looking through them all again and again takes a tenth of the time.
gc.disable()  # until all are there
gc.set_threshold(50_000, 20, 50)

# No deadline: the machines of CI have bad moments. Fixtures of servers are shared by all examples on purpose.
# `make test ARGS="--hypothesis-profile thorough"` looks longer than a working day allows.
for _name, _examples in (("house", 12), ("thorough", 1000)):
    settings.register_profile(
        _name,
        deadline=None,
        max_examples=_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("house")

# Files with the longest waits go first, so that no process is left alone with one of them at the end.
_ORDER = (
    "tests/integration/api",
    "tests/integration/engine",
    "tests/integration",
    "tests/unit/test_doctor_broker.py",  # waits for two seconds
    "tests/contract",
    "tests/unit",
)

# Files that share what is dear to make: one API process, one simulator, or a package whose import takes half a
# second. All files of a row run in one process; a row must not last as long as half the suite.
_TOGETHER = (
    ("tests/integration/api/",),
    (
        "tests/integration/simulator/",
        "tests/contract/providers/test_answers.py",
        "tests/unit/bench/test_engines.py",
        "tests/unit/providers/test_shape.py",
        "tests/unit/providers/test_responses_answers.py",
    ),
    ("tests/integration/sweeper/", "tests/integration/webhooks/"),
)

# Folders of which nothing runs unless its marker, of the same name, is asked for: nobody else need import them.
_ASKED_FOR = ("chaos", "compat", "load", "stack")


class Together(LoadFileScheduling):  # type: ignore[misc]
    """Each file in one process, and the files of a row of `_TOGETHER` in the same."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return next((row[0] for row in _TOGETHER if path.startswith(row)), path)


@pytest.hookimpl(optionalhook=True)  # there is no such hook without pytest-xdist's processes
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Take the place of `--dist loadfile`."""
    return Together(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare every process what `-m` leaves out anyhow."""
    name = collection_path.name
    if name not in _ASKED_FOR or collection_path.parent != Path(__file__).parent:
        return None
    words = str(config.option.markexpr).replace("(", " ").replace(")", " ").split()
    asked_for = any(
        word == name and before != "not" for before, word in zip(["", *words], words, strict=False)
    )
    return None if asked_for else True


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Send the main process one message a test instead of five: a third of what a short test costs."""
    config = item.config
    if not hasattr(config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or config.option.durations is not None:
            config.hook.pytest_runtest_logreport(report=report)
    return True


def pytest_collection_finish() -> None:
    """What is collected stays to the end: the garbage collector need not look at it again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a folder the order stays."""
    root = Path(__file__).parents[1]

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(root).as_posix()
        return next((k for k, start in enumerate(_ORDER) if path.startswith(start)), len(_ORDER))

    items.sort(key=place)

"""A worker dies before, after or in the middle of a write, and somebody else ends what it was at.

These are the steps at which most is open; tests/chaos has every step of every action.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.death_cases import CASES
from tests.support.deaths import died_at, hasten, open_deaths
from tests.support.dying import How
from tests.support.engine import Engine
from tests.support.servers import TestServers

pytestmark = [pytest.mark.integration, pytest.mark.stack]


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_deaths(servers, tmp_path_factory.mktemp("deaths")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "step", "how"),
    [
        ("plan", "batch_shards.insert_many", "halfway"),
        ("plan", "batch_shards.update_many", "halfway"),
        ("plan with rejected lines", "batch_results.insert_many", "halfway"),
        ("run", "redis.keep_answers", "before"),
        ("run", "batch_results.insert_many", "halfway"),
        ("run", "files.update_one", "after"),
        ("retries", "redis.keep_answers", "before"),
        ("hand-over", "batch_shards.insert_many", "before"),
        ("split", "batch_shards.insert_many", "halfway"),
        ("cancel", "batch_results.insert_many", "halfway"),
    ],
)
def test_what_it_leaves_half_done_is_ended_by_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, step: str, how: How
) -> None:
    hasten(monkeypatch)
    steps = died_at(engine, CASES[name], step, how)
    assert steps is not None and steps[-1] == step

"""A worker dies before, after and in the middle of every single write of everything it does, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.death_cases import CASES
from tests.support.deaths import dies_everywhere, hasten, open_deaths
from tests.support.dying import HOWS, How
from tests.support.engine import Engine
from tests.support.servers import TestServers

pytestmark = [pytest.mark.chaos, pytest.mark.writes]


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_deaths(servers, tmp_path_factory.mktemp("deaths")) as opened:
        yield opened


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", CASES)
def test_whatever_is_written_last_somebody_else_ends_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, how: How
) -> None:
    hasten(monkeypatch)
    for place, instead in CASES[name].patches:
        monkeypatch.setattr(place, instead)
    steps = dies_everywhere(engine, CASES[name], how)
    assert steps >= 2

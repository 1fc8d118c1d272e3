"""A limit of calls at once: a place that comes free is used again at once, not when somebody happens to ask."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.batches import chat_line
from tests.support.engine import always_answers, open_engine
from tests.support.servers import TestServers
from workers.core.gcra import BUSY_WAIT_S

pytestmark = pytest.mark.integration
LIMITED = """
[providers.openai.limits]
concurrency = 2
"""
ITEMS = 40


def test_short_calls_do_not_wait_for_the_next_asking(servers: TestServers, tmp_path: Path) -> None:
    with open_engine(servers, tmp_path, toml=LIMITED) as engine:
        engine.play(always_answers)
        _, shard = engine.plan([chat_line(f"c{n}", f"place {n}", model="gpt-5") for n in range(ITEMS)])
        began = time.monotonic()
        assert engine.run(shard) == "done"
        # If a place waited for the end of a rest, two would be done in each.
        assert time.monotonic() - began < BUSY_WAIT_S * ITEMS / 2 / 2

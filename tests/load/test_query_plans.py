"""No query of ours grows with the database: at a million results. tests/stack has the same with ten thousand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.apart import apart
from tests.support.servers import TestServers
from tests.support.whole_path import Years, opened_path
from workers.store.index_check import collections

pytestmark = [pytest.mark.integration, pytest.mark.load]
MILLION = Years(batches=2_000, results_each=500, others=2_000, waiting=20_000)


def test_at_a_million_results_no_query_looks_at_more_than_what_it_finds(
    servers: TestServers, tmp_path: Path
) -> None:
    with opened_path(apart(servers, "plans"), tmp_path, MILLION) as path:
        sizes = {each.name: each for each in collections(path.site.stores.db)}
        slowest = max(path.looks(), key=lambda look: look.ms)
        # For docs/database.md; `pytest -s` shows them.
        sys.stdout.write("\n".join(map(str, [*sizes.values(), slowest])))
        assert sizes["batch_results"].documents >= 1_000_000
        faults = path.faults()
    assert not faults, "\n".join(map(str, faults))

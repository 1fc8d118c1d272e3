"""No query of ours grows with the database: a small one, through the whole path. tests/load has a million results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import whole_path
from tests.support.apart import apart
from tests.support.servers import TestServers
from tests.support.whole_path import Years, opened_path

pytestmark = [pytest.mark.integration, pytest.mark.stack]
# More than a collection may hold that is read as a whole.
SMALL = Years(batches=1_010, results_each=10, others=1_010, waiting=1_010)


@pytest.fixture(scope="module")
def path(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[whole_path.Path]:
    with opened_path(apart(servers, "plans"), tmp_path_factory.mktemp("plans"), SMALL) as opened:
        yield opened


def test_no_query_looks_at_more_than_what_it_finds(path: whole_path.Path) -> None:
    faults = path.faults()
    assert not faults, "\n".join(map(str, faults))


def test_the_queries_of_every_part_were_seen(path: whole_path.Path) -> None:
    # Given nothing is seen, the test above would hold for ever.
    seen = path.looks()
    assert {look.app for look in seen} >= {"batchwright-api", "batchwright-worker"}
    assert {look.kind for look in seen} >= {"find", "aggregate", "update", "remove"}
    used = {look.collection for look in seen}
    assert used >= {"batch_jobs", "batch_shards", "batch_results", "files", "usage", "outbox", "deliveries"}

"""As tests/integration/api/test_isolation.py, with every object of the other tenant and with many more calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.estates import ground
from tests.support.servers import TestServers
from tests.support.town import Town, attacked, hold_to_its_own

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def town(servers: TestServers) -> Iterator[Town]:
    with ground(servers) as on:
        yield Town(on)


def test_everything_of_another_tenants_is_the_same_as_what_never_was(town: Town) -> None:
    attacked(town, town.alpha, town.alpha.keys["admin"], most=10)


def test_the_operator_reads_and_changes_no_tenants_batches_files_or_webhooks(town: Town) -> None:
    attacked(
        town,
        town.operator,
        town.operator.keys["admin"],
        most=10,
        only=("batches", "files", "webhooks", "deliveries"),
    )


def test_a_thousand_calls_reach_no_other_tenant(town: Town) -> None:
    hold_to_its_own(town, examples=1000)

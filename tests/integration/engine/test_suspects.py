"""Shards whose workers died run one at a time, so that one death says something of one of them alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engine import Engine, open_engine, reply
from tests.support.eventually import eventually
from tests.support.hand_over import prompts
from tests.support.servers import TestServers
from workers.core import poison
from workers.core.identity import shard_id
from workers.core.messages import HttpResponse

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("suspects")
    with open_engine(servers, directory, BATCHWRIGHT_SHARD_MAX_ITEMS="1") as opened:
        yield opened


def test_a_second_suspect_waits_until_the_first_has_ended_and_loses_nothing_by_it(engine: Engine) -> None:
    gate = engine.gate()

    async def waits(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(waits)
    # Given two single items that were lost three times each: one more loss would condemn them
    batch_id, first = engine.plan(prompts("suspects", 2))
    second = shard_id(batch_id, 2)
    lost = poison.CONDEMN_AFTER - 1
    engine.stores.db["batch_shards"].update_many({"batch_id": batch_id}, {"$set": {"takeovers": lost}})
    running = engine.begin_run(first)
    eventually(lambda: engine.provider.seen == 1, 5)
    # When the other one comes meanwhile
    assert engine.run(second) == "waits for its trial"
    shard = engine.stores.shards.get(second)
    # Then it rests, called nobody, and has lost nothing;
    assert shard is not None
    assert (shard["reason"], shard["takeovers"], engine.provider.seen) == ("suspect", lost, 1)
    gate.open()
    assert running.result(5) == "done"
    # and is next.
    engine.due_now(second)
    assert engine.run(second) == "done"

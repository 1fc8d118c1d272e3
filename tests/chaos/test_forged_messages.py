"""Everything we can think of that a broker may bring to one worker, at once and five times over.

tests/support/forged.py is the list; the rows 18 and 19 of the whole stack are in test_messages.py.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.simulator.answers import answer_text
from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.forged import forgeries
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site, started_worker
from workers.celery_config import PLAN_QUEUE, batch_queue
from workers.core.identity import new_batch_id

pytestmark = pytest.mark.chaos
_ITEMS = 200
_SEED = 7


@pytest.fixture
def site(servers: TestServers, tmp_path: Path) -> Iterator[Site]:
    with open_site(servers, tmp_path, "--seed", str(_SEED)) as opened:
        yield opened


@pytest.fixture
def broker(site: Site) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(site.servers.redis_url) as client:
        yield client


def test_forged_messages_are_refused_and_counted_and_the_worker_goes_on(
    site: Site, broker: redis.Redis
) -> None:
    # Given a worker with a full broker
    site.queue.publish_plan(new_batch_id(0))
    sound: Any = broker.lpop(PLAN_QUEUE)
    forged = list(forgeries(sound))
    expected = Counter(str(reason) for _, reason, _ in forged)
    with started_worker(site, "forged") as worker:
        # When everything comes at once, into both kinds of queue and to the channel of the remote control
        for queue in (PLAN_QUEUE, batch_queue("sim")):
            broker.lpush(queue, *(raw for _, _, raw in forged))
        for raw in (b"{}", b"no JSON", b"7", json.dumps({"properties": {}, "headers": {}}).encode()):
            broker.publish("/0.celery.pidbox", raw)
        batch_id = site.submit([chat_line(f"c{n}", f"forged {n}") for n in range(_ITEMS)])
        # Then the batch behind it is done by the same process
        assert site.ended(batch_id)["counts"]["completed"] == _ITEMS
        assert worker.alive
        wanted = Counter({reason: 2 * count for reason, count in expected.items()})
        wanted["malformed"] += 4  # the broadcasts
        eventually(lambda: _refused(site) == wanted, 10, what=lambda: (_refused(site), wanted))
        log = worker.log_path.read_text()
        assert "Traceback" not in log
        assert not [line for line in log.splitlines() if "os.system" in line or "$gt" in line]
        assert log.count(" was refused: ") == sum(wanted.values())
        assert worker.terminate() == 0
    assert site.called() == _ITEMS


def test_every_message_five_times_in_any_order_changes_nothing(site: Site, broker: redis.Redis) -> None:
    prompts = [f"five times {number}" for number in range(_ITEMS)]
    rng = random.Random(18)
    batch_id = site.stores.batch([chat_line(f"c{n}", text) for n, text in enumerate(prompts)])
    # Given five copies of the plan's message, delivery tag and all
    site.queue.publish_plan(batch_id)
    plan: Any = broker.lpop(PLAN_QUEUE)
    broker.lpush(PLAN_QUEUE, *[plan] * 5)
    copied = set[str]()
    settings = {"BATCHWRIGHT_SHARD_MAX_ITEMS": "20", "BATCHWRIGHT_CACHE_ENABLED": "false"}
    with started_worker(site, "five", **settings) as worker:

        def copies_all() -> bool:
            # When every shard gets five more messages as soon as there is one, and the plan five as well
            fresh = [doc["_id"] for doc in site.shards(batch_id) if doc["_id"] not in copied] * 5
            rng.shuffle(fresh)
            if fresh:
                site.queue.publish_shards("sim", fresh)
                broker.lpush(PLAN_QUEUE, *[plan] * 5)
                copied.update(fresh)
            return bool(site.stores.state(batch_id)["status"] == "completed")

        eventually(copies_all, 20)
        eventually(lambda: site.queue.depth(batch_queue("sim")) + site.queue.depth(PLAN_QUEUE) == 0, 20)
        assert worker.terminate() == 0
    # Then each answer is there once, and nothing was asked twice
    answers = [json.loads(row["body"])["choices"][0]["message"]["content"] for row in site.results(batch_id)]
    asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
    assert answers == [answer_text("sim-small", messages, _SEED) for messages in asked]
    assert len(copied) == _ITEMS / 20
    assert site.called() == _ITEMS
    counts = site.stores.state(batch_id)["counts"]
    assert (counts["excess"], counts["possibly_repeated"]) == (0, 0)


def _refused(site: Site) -> Counter[str]:
    found = Counter[str]()
    for doc in site.stores.db["worker_processes"].find():
        found.update(dict(doc["stats"]["refused"]))
    return found

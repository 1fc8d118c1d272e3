"""Faults 18 and 19: messages that come too often, in any order, or that nobody of ours has sent."""

from __future__ import annotations

import base64
import pickle
import random
from collections.abc import Callable, Sequence

import orjson
import pytest

from tests.chaos.arena import Arena
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.chaos.servers import CONTROL
from tests.support.eventually import eventually
from workers.queue import Queue

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_TIMES = 5
_QUEUE = "batch.sim"


@pytest.mark.quick
@pytest.mark.fault("18", "every message delivered five times, in any order")
def test_a_message_may_come_as_often_as_it_likes(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena, draw = arena_of(Rules(seed, latency_ms=50)), random.Random(seed)
    queue = Queue(arena.servers.urls[CONTROL])
    batches = [tenant.submit(items // 2) for tenant in arena.tenants.values()]

    def deliver() -> None:
        for batch in batches:
            for _ in range(_TIMES):
                queue.publish_plan(batch.id)
        shards = eventually(lambda: arena.db["batch_shards"].distinct("_id"), 20)
        many = list(shards) * _TIMES
        draw.shuffle(many)
        queue.publish_shards("sim", many)

    arena.hit("deliver again", deliver)
    arena.rest()
    arena.hit("deliver to the end", deliver)
    with arena.control() as control:
        eventually(lambda: control.llen(_QUEUE) == 0, 30)
    queue.close()
    verdict(arena, Expected(max_excess=0, recovers=False))


@pytest.mark.quick
@pytest.mark.fault("19", "forged, pickled or unknown messages in the queue")
def test_a_message_that_nobody_of_ours_has_sent_harms_no_worker(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=50))
    before = dict(arena.state.pids)
    with arena.control() as control:
        arena.hit("forge", lambda: control.lpush(_QUEUE, *_forged()))
        for tenant in arena.tenants.values():
            tenant.submit(items // 2)
        arena.hit("forge again", lambda: control.lpush(_QUEUE, *_forged()))
        arena.rest()
        eventually(lambda: control.llen(_QUEUE) == 0, 30)
    verdict(arena, Expected(max_excess=0, recovers=False))
    assert arena.state.pids == before
    # Each was refused once, and counted.
    eventually(lambda: _refused(arena) == 2 * len(_forged()), 15, what=lambda: _refused(arena))


def _refused(arena: Arena) -> int:
    """How many the workers say so far that they have refused."""
    tenant = next(iter(arena.tenants.values()))
    lines = tenant.ask("GET", "/metrics").text.splitlines()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith("batchwright_messages_refused_total")
    )


def _forged() -> list[bytes]:
    """As they may lie in the list of kombu's Redis transport."""
    good_args = ["batch_000000000000.00001"]
    return [
        b"no json at all",
        b"[]",
        b"{}",
        b"\x80\x04" + bytes(range(256)),
        _message("no.such.task", good_args),
        _message("shard.sim", [{"$gt": ""}]),
        _message("shard.sim", [["batch_1"], "and", "more"]),
        _message("shard.sim", [None]),
        _message("shard.sim", ["../../etc/passwd"]),
        _message("plan.batch", [{"$ne": None}]),
        _message("shard.sim", good_args, body=base64.b64encode(b"{not json").decode()),
        _message("shard.sim", good_args, content_type="application/x-python-serialize", body=_pickled()),
        _message("shard.sim", good_args, content_type="application/x-yaml"),
        _message("shard.sim", good_args, content_encoding="rot13"),
    ]


def _pickled() -> str:
    return base64.b64encode(pickle.dumps([["batch_1"], {}, None])).decode()


def _message(task: str, args: Sequence[object], **changes: str) -> bytes:
    body = base64.b64encode(orjson.dumps([args, {}, {"callbacks": None, "errbacks": None}])).decode()
    headers = {"lang": "py", "task": task, "id": "00000000-0000-0000-0000-000000000001", "argsrepr": "()"}
    properties = {
        "correlation_id": headers["id"],
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": _QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": "00000000-0000-0000-0000-000000000002",
    }
    whole = {
        "body": changes.get("body", body),
        "content-encoding": changes.get("content_encoding", "utf-8"),
        "content-type": changes.get("content_type", "application/json"),
        "headers": headers,
        "properties": properties,
    }
    return orjson.dumps(whole)

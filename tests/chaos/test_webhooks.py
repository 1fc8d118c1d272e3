"""Fault 26: an API process dies while it tells somebody of a batch's end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.chaos.servers import CACHE, CONTROL, MONGOD
from tests.support.api import running_api
from tests.support.eventually import eventually
from tests.support.receiver import Reply, receiving
from tests.support.servers import TestServers

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_TIMEOUT_S = 2
_AFTER_S = 5.0  # an attempt that was broken off is made again so long after its time was over
_HOOKS = {
    "BATCHWRIGHT_WEBHOOK_ALLOW_HTTP": "true",
    "BATCHWRIGHT_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
    "BATCHWRIGHT_WEBHOOK_TIMEOUT_S": str(_TIMEOUT_S),
}
_MORE = 20


@pytest.mark.fault("26", "kill -9 the API in the middle of an attempt to deliver a webhook")
def test_an_event_outlives_the_process_that_was_telling_it(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    arena = arena_of(Rules(seed, tenants=("one",), environ=_HOOKS))
    tenant, silence = arena.tenants["one"], threading.Event()
    with receiving() as receiver:
        # Given somebody who has the event and has not answered yet
        receiver.replies = [Reply(after=silence), Reply(200)]
        batch = tenant.submit(items, batchwright={"webhook": {"url": receiver.url}})
        (first,) = receiver.wait_for(1, 120)
        pid = arena.kill("api")
        silence.set()
        # When two live ones are there in its place
        (tmp_path / "second").mkdir()
        with running_api(_named(arena), tmp_path / "second", **_HOOKS):
            arena.restarted("api", pid)
            # Then it is told again, by the same id and in the same bytes, once.
            second = receiver.wait_for(2, _TIMEOUT_S + _AFTER_S + 5.0)[1]
            assert (second.headers["webhook-id"], second.body) == (first.headers["webhook-id"], first.body)
            assert json.loads(first.body)["data"]["id"] == batch.id
            # And what ends while both live is told once each.
            made = {_that_fails(arena, receiver.url) for _ in range(_MORE)}
            receiver.wait_for(2 + _MORE, 30)
            eventually(lambda: not arena.db["deliveries"].count_documents({"state": "pending"}), 10)
            told = Counter(json.loads(got.body)["data"]["id"] for got in receiver.got[2:])
            assert told == dict.fromkeys(made, 1)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


def _named(arena: Arena) -> TestServers:
    urls = arena.servers.urls
    return TestServers(urls[CONTROL], urls[CACHE], urls[MONGOD], arena.db.name)


def _that_fails(arena: Arena, url: str) -> str:
    """A batch whose file is not there: it ends as it is made."""
    body = {
        "input_file_id": "file-none",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "batchwright": {"webhook": {"url": url}},
    }
    return str(arena.tenants["one"].insist("POST", "/v1/batches", json=body)["id"])

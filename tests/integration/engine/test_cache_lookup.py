"""What the API says of the cache is what the workers have kept there, for whatever way a request names its model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app.api.cached import Lookup, _keys
from tests.support.batches import CHAT, chat_line
from tests.support.engine import Engine, always_answers, open_engine
from tests.support.servers import TestServers
from workers.store.cache import Cache

pytestmark = pytest.mark.integration
WAYS: tuple[dict[str, Any], ...] = (
    {"model": "sim-small"},
    {"model": "sim/sim-large"},
    {"model": "openai/gpt-4o-mini", "task_type": "genre"},
    {"model": "auto", "priority": "quality", "provider_options": {"top_k": 3}},
)
TOML = """
[routes.quality]
default = ["sim/sim-large"]
"""


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("lookup"), toml=TOML) as opened:
        yield opened


def body_of(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)["body"]
    return found


def test_a_lookup_finds_what_workers_have_kept_and_nothing_else(engine: Engine) -> None:
    engine.play(always_answers)
    lines = [chat_line(f"c{n}", "look", **way) for n, way in enumerate(WAYS)]
    batch_id, first = engine.plan(lines)
    shards = engine.stores.db["batch_shards"].find({"batch_id": batch_id}, {"_id": 1})
    assert {engine.run(shard["_id"]) for shard in shards} == {"done"} and first
    bodies = [body_of(line) for line in [*lines, chat_line("x", "never asked")]] + [{"messages": []}]
    keys = _keys(
        SimpleNamespace(settings=engine.runtime.settings),  # type: ignore[arg-type]  # all that it looks at
        engine.stores.tenants.get("default"),
        Lookup(endpoint=CHAT, requests=bodies),
    )
    assert keys[-1] == "", "it names no model"
    cache = Cache(engine.runtime._cache_redis, max_entry_bytes=1)
    assert engine.begin(cache.holds(keys[:-1])).result(5.0) == [True] * len(WAYS) + [False]

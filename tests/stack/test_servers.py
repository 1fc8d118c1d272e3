"""The embedded servers themselves: real valkey, real mongod."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient, WriteConcern
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.embedded import files, servers
from app.embedded.errors import StackError
from app.embedded.ports import PortClaims
from app.embedded.servers import Started
from app.embedded.supervisor import Supervisor

pytestmark = [pytest.mark.integration, pytest.mark.stack]


@dataclass(frozen=True)
class Running:
    control: Started
    cache: Started
    mongod: Started


@contextmanager
def running(data_dir: Path, mongod_port: int | None = None) -> Iterator[Running]:
    files.prepare(data_dir)
    supervisor = Supervisor(data_dir / "logs", on_change=lambda: None, on_event=pytest.fail)
    ports, started = PortClaims(data_dir / "ports"), dict[str, Started]()

    def keep(name: str, start: Any, cancel: threading.Event) -> None:
        started[name] = start(cancel)

    starts = {
        "control": servers.start_control_redis(supervisor, data_dir, ports),
        "cache": servers.start_cache_redis(supervisor, data_dir, ports),
        "mongod": servers.start_mongod(supervisor, data_dir, ports, wish=mongod_port),
    }
    try:
        supervisor.start_all([partial(keep, name, start) for name, start in starts.items()])
        yield Running(**started)
    finally:
        supervisor.stop_all()


def test_what_was_written_is_there_after_a_restart_on_another_port(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        with MongoClient[dict[str, Any]](first.mongod.url) as mongo:
            journaled = mongo["t"].get_collection("c", write_concern=WriteConcern("majority", j=True))
            journaled.insert_one({"_id": 1})
        redis.Redis.from_url(first.control.url).set("job", "1")
        redis.Redis.from_url(first.cache.url).set("answer", "42")
    with running(tmp_path, mongod_port=None) as second:
        assert second.mongod.port != first.mongod.port
        with MongoClient[dict[str, Any]](second.mongod.url) as mongo:
            assert mongo["t"]["c"].find_one() == {"_id": 1}
            mongo["t"]["c"].insert_one({"_id": 2})
        assert redis.Redis.from_url(second.control.url).get("job") == b"1"
        assert redis.Redis.from_url(second.cache.url).get("answer") == b"42"


def test_the_servers_are_set_up_for_what_they_hold(tmp_path: Path) -> None:
    with running(tmp_path) as started:
        control, cache = redis.Redis.from_url(started.control.url), redis.Redis.from_url(started.cache.url)
        # When they are asked for their configuration, then control never evicts and the cache may.
        assert control.config_get("maxmemory-policy", "appendonly") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
        }
        assert cache.config_get("maxmemory-policy", "appendonly") == {
            "maxmemory-policy": "allkeys-lru",
            "appendonly": "no",
        }
        assert control.config_get("bind") == {"bind": "127.0.0.1"}
        # Then nobody gets in without the password, which stands in a private file alone.
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=started.control.port, retry=Retry(NoBackoff(), 0)).ping()
        conf = tmp_path / "run" / "control-redis.conf"
        assert conf.stat().st_mode & 0o777 == 0o600
        # Then MongoDB has what transactions and change streams need.
        with MongoClient[dict[str, Any]](started.mongod.url) as mongo:
            assert mongo.admin.command("hello")["setName"] == "batchwright"
            with mongo["t"]["c"].watch(max_await_time_ms=2000) as changes:
                mongo["t"]["c"].insert_one({"_id": 1})
                assert changes.next()["documentKey"] == {"_id": 1}
        # Given it runs, when a second mongod is started on the directory, then the error says so.
        other = Supervisor(tmp_path / "logs", on_change=lambda: None, on_event=pytest.fail)
        start_again = servers.start_mongod(other, tmp_path, PortClaims(tmp_path / "ports"))
        with pytest.raises(StackError, match="another mongod is using its directory"):
            start_again(threading.Event())


def test_a_damaged_cache_file_is_named_with_its_directory(tmp_path: Path) -> None:
    files.prepare(tmp_path)
    (tmp_path / "cache-redis").mkdir()
    (tmp_path / "cache-redis" / "answers.rdb").write_bytes(b"no redis file at all")
    supervisor = Supervisor(tmp_path / "logs", on_change=lambda: None, on_event=pytest.fail)
    start = servers.start_cache_redis(supervisor, tmp_path, PortClaims(tmp_path / "ports"))
    with pytest.raises(StackError, match="cache-redis is damaged") as caught:
        start(threading.Event())
    assert caught.value.hint.startswith("move the directory away")


def test_a_damaged_database_is_named_with_its_directory(tmp_path: Path) -> None:
    files.prepare(tmp_path)
    (tmp_path / "mongodb").mkdir()
    (tmp_path / "mongodb" / "WiredTiger").write_text("no database", encoding="utf-8")
    (tmp_path / "mongodb" / "WiredTiger.turtle").write_text("no database", encoding="utf-8")
    (tmp_path / "mongodb" / "storage.bson").write_bytes(b"no database")
    supervisor = Supervisor(tmp_path / "logs", on_change=lambda: None, on_event=pytest.fail)
    start = servers.start_mongod(supervisor, tmp_path, PortClaims(tmp_path / "ports"))
    with pytest.raises(StackError, match="mongodb is damaged"):
        start(threading.Event())
    assert supervisor.rows() == ()

"""Real servers start with exactly the files in config/, are what they say, and hold what is written to them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient

import config
from app.embedded import replica_set
from app.embedded.binaries import find_mongod, find_redis
from app.embedded.ports import PortClaims, PortWish
from tests.support.eventually import eventually
from tests.support.oldest_redis import OLDEST_REDIS

pytestmark = [pytest.mark.integration, pytest.mark.stack]
CONFIG = Path(config.__file__).parent
GB = 1 << 30
EVERYBODYS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "tcp-backlog": "511",
    "timeout": "0",
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "activedefrag": "no",
    "lazyfree-lazy-eviction": "yes",
    "lazyfree-lazy-expire": "yes",
    "lazyfree-lazy-server-del": "yes",
    "lazyfree-lazy-user-del": "yes",
}
OWN = {
    "redis-control.conf": {"maxmemory": str(GB // 2), "maxmemory-policy": "noeviction", "io-threads": "1"},
    "redis-cache.conf": {"maxmemory": str(2 * GB), "maxmemory-policy": "allkeys-lru", "io-threads": "4"},
}
# Sleeps where it is asked for it, so that a command is slow.
SLOW = "sleep(250) || true"


@contextmanager
def started(directory: Path, *argv: str, **environ: str) -> Iterator[tuple[int, Path]]:
    """A server on a free port, with its log; `{port}` stands for the port. Ended as a service manager does."""
    ports = PortClaims(directory / "ports")
    port, log_path = ports.choose(PortWish("server")), directory / "server.log"
    with log_path.open("ab") as log:
        command = [part.format(port=port) for part in argv]
        process = subprocess.Popen(command, cwd=directory, env=environ or None, stdout=log, stderr=log)
    try:
        yield port, log_path
    finally:
        process.terminate()
        process.wait(timeout=30)
        ports.release()
    assert process.returncode == 0, log_path.read_text()


@contextmanager
def redis_with(program: str, file: str, directory: Path) -> Iterator[redis.Redis]:
    argv = (program, str(CONFIG / file), "--port", "{port}", "--dir", str(directory))
    with started(directory, *argv) as (port, log), redis.Redis(port=port, decode_responses=True) as client:
        eventually(lambda: _answers(client), 10.0, what=log.read_text)
        yield client


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("file", sorted(OWN))
@pytest.mark.parametrize("program", ["newest", "oldest"])
def test_redis_starts_with_the_file_and_keeps_what_is_written(
    program: str, file: str, tmp_path: Path
) -> None:
    path = str(find_redis().path) if program == "newest" else OLDEST_REDIS
    if path is None:
        pytest.skip("no Redis 6.2 on this machine")
    with redis_with(path, file, tmp_path) as client:
        told = {name: client.config_get(name)[name] for name in EVERYBODYS | OWN[file]}
        assert told == EVERYBODYS | OWN[file]
        client.set("key", "value")
        client.lpush("queue", "message")
    # When it is started again, then what was written is there: the append-only file is read.
    with redis_with(path, file, tmp_path) as client:
        assert (client.get("key"), client.rpop("queue")) == ("value", "message")


def test_mongod_starts_with_the_file_and_logs_no_documents(tmp_path: Path) -> None:
    binary, data = find_mongod(tmp_path), tmp_path / "db"
    data.mkdir()
    argv = (
        str(binary.path),
        "--config",
        str(CONFIG / "mongod.conf"),
        "--dbpath",
        str(data),
        "--port",
        "{port}",
    )
    with started(tmp_path, *argv, **binary.env) as (port, log):
        client = MongoClient[dict[str, Any]](
            "127.0.0.1", port, directConnection=True, w="majority", journal=True
        )
        with client:
            eventually(lambda: client.admin.command("ping")["ok"], 20.0, what=log.read_text)
            replica_set.become_primary(port, limit_s=20.0)
            parsed = client.admin.command("getCmdLineOpts")["parsed"]
            assert parsed["replication"] == {"oplogSizeMB": 1024, "replSetName": replica_set.SET_NAME}
            assert parsed["storage"]["wiredTiger"]["engineConfig"] == {"cacheSizeGB": 1.0}
            assert parsed["net"]["bindIp"] == "127.0.0.1"
            _write_and_read_slowly(client)
        slow = [line for line in log.read_text().splitlines() if '"Slow query"' in line]
    # Then what was slow to read is there to be found, and nothing that was written.
    assert any('"find":"t"' in line for line in slow)
    assert "PRIVATE" not in log.read_text()
    assert not [line for line in slow if re.search(r'"(insert|update|delete|findAndModify)":', line)]


def _write_and_read_slowly(client: MongoClient[dict[str, Any]]) -> None:
    docs = client["t"]["t"]
    docs.insert_one({"_id": 1, "body": "PRIVATE"})
    assert docs.find_one({"_id": 1, "$where": SLOW}) == {"_id": 1, "body": "PRIVATE"}
    docs.update_one({"_id": 1, "$where": SLOW}, {"$set": {"body": "PRIVATE"}})
    docs.find_one_and_update({"_id": 1, "$where": SLOW}, {"$set": {"body": "PRIVATE"}})
    docs.delete_one({"_id": 1, "$where": SLOW})

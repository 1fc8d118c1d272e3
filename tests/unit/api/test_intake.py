"""What intake answers while the disk is full or the database takes no write, and what works all the same."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import BulkWriteError, NotPrimaryError, OperationFailure, PyMongoError, WriteError

from app.api.application import create_app
from app.api.disk_guard import DiskGuard
from app.api.errors import ApiError
from app.api.services import Services, services_on
from app.cli import errors, stack_verbs
from app.client.errors import refusal
from app.doctor import disk_check
from config.settings import Settings
from config.tree import Disk
from workers.core.api_keys import SCOPES
from workers.core.disk import DiskUse
from workers.core.tenancy import TenantRules
from workers.queue import Queue

pytestmark = pytest.mark.fast
NOBODY = "127.0.0.1:1"
BATCH = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
UPLOAD = {"file": ("in.jsonl", b'{"a": 1}\n')}


class Refusing:
    """A store whose every method raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: object, **__: object) -> None:
            raise self._error

        return refuse


@asynccontextmanager
async def api(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = create_app(services)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", headers={"x-api-key": "k"}
    ) as http:
        yield http
    await services.close(0.0)


def services_with(**stores: Any) -> Services:
    mongo: MongoClient[dict[str, Any]] = MongoClient(f"mongodb://{NOBODY}", serverSelectionTimeoutMS=20)
    services = services_on(Settings(), mongo["nothing"], Queue(f"redis://{NOBODY}/0"))
    known = SimpleNamespace(id="key_1", tenant="default", allows=SCOPES, ends_at=None)
    known.expired = known.revoked = False
    keys = SimpleNamespace(find=lambda _: known, note_use=lambda _: True)
    free = SimpleNamespace(rules_of=lambda _: TenantRules(), most=lambda _: None, stays=lambda *_: True)
    for name, store in {"api_keys": keys, "tenants": free, "backlog": free, **stores}.items():
        setattr(services, name, store)
    return services


def guard(*percents: float) -> DiskGuard:
    """One that sees these fills in turn."""
    left = list(percents)

    async def ask() -> DiskUse:
        return DiskUse(int(left.pop(0) * 10), 1000)

    return DiskGuard(ask, Disk())


async def intake(http: httpx.AsyncClient) -> list[httpx.Response]:
    return [
        await http.post("/v1/files", files=UPLOAD, data={"purpose": "batch"}),
        await http.post("/v1/batches", json=BATCH),
    ]


async def test_a_full_disk_refuses_files_and_batches_names_the_ways_out_and_lets_the_rest_work() -> None:
    kept = {"_id": "file-1", "filename": "x", "bytes": 1, "created_at": 1, "purpose": "batch"}
    files = SimpleNamespace(get=lambda *_: {**kept, "expires_at": None}, hide=lambda *_: True)
    services = services_with(files=files, disk=guard(96.2))
    await services.disk.look()
    async with api(services) as http:
        for reply in await intake(http):
            error = reply.json()["error"]
            assert (reply.status_code, error["code"], error["type"]) == (
                507,
                "insufficient_storage",
                "server_error",
            )
            assert reply.headers["x-should-retry"] == "false"
            for word in ("96.2 %", "batch.retention_days", "more room", "disk.stop_percent"):
                assert word in error["message"]
        assert (await http.get("/v1/files/file-1")).status_code == 200
        assert (await http.delete("/v1/files/file-1")).json()["deleted"]


async def test_a_create_looks_for_the_batch_that_an_earlier_one_made_before_it_looks_at_the_disk() -> None:
    seen: list[str] = []

    def known(_: str, key: str) -> None:
        seen.append(key)

    services = services_with(batches=SimpleNamespace(by_idempotency_key=known), disk=guard(99))
    await services.disk.look()
    async with api(services) as http:
        reply = await http.post("/v1/batches", json=BATCH, headers={"idempotency-key": "once"})
    assert (seen, reply.status_code) == (["once"], 507), "it looked first"


async def test_a_key_whose_batch_expires_in_between_makes_a_batch_that_is_really_there() -> None:
    inserted: list[dict[str, Any]] = []

    def insert(doc: dict[str, Any]) -> bool:
        inserted.append(doc)
        return len(inserted) > 1

    batches = SimpleNamespace(
        by_idempotency_key=lambda *_: None, insert=insert, fail=lambda *_: True, get=lambda *_: inserted[1]
    )
    files = SimpleNamespace(get=lambda *_: None)
    async with api(services_with(batches=batches, files=files)) as http:
        reply = await http.post("/v1/batches", json=BATCH, headers={"idempotency-key": "once"})
    assert len(inserted) == 2 and reply.json()["id"] == inserted[1]["_id"]


async def test_intake_opens_again_by_itself_and_each_crossing_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "batchwright.api")
    disk = guard(50, 85, 86, 96, 97, 94, 50)
    refused = []
    for _ in range(7):
        await disk.look()
        try:
            disk.refuse_if_full()
        except ApiError as error:
            refused.append(error.message[:34])
    assert refused == ["The disk of MongoDB is 96.0 % full", "The disk of MongoDB is 97.0 % full"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "WARNING", "INFO"]


async def test_a_server_that_does_not_tell_and_one_that_is_away_refuse_nothing() -> None:
    async def tells_nothing() -> None:
        return None

    async def is_away() -> None:
        raise NotPrimaryError("no primary")

    for ask in (tells_nothing, is_away):
        disk = DiskGuard(ask, Disk())
        await disk.look()
        disk.refuse_if_full()


NO_WRITES: tuple[PyMongoError, ...] = (
    WriteError("no space", 14031, {"code": 14031}),
    BulkWriteError({"writeErrors": [{"code": 14031, "errmsg": "no space"}]}),
    OperationFailure("not enough members", 100),
    NotPrimaryError("not primary"),
)


async def test_a_database_that_takes_no_write_is_a_503_at_every_intake() -> None:
    services = services_with()
    async with api(services) as http:
        for error in NO_WRITES:
            services.files = services.batches = Refusing(error)  # type: ignore[assignment]
            for reply in await intake(http):
                assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable"), error
                assert reply.headers["retry-after"] == "2"


async def test_what_else_the_database_refuses_is_our_bug() -> None:
    refusing = Refusing(OperationFailure("unknown operator", 2))
    async with api(services_with(files=refusing, batches=refusing)) as http:
        assert {reply.status_code for reply in await intake(http)} == {500}


def test_the_command_line_shows_a_full_disk_with_its_ways_out_and_says_nothing_of_a_bug() -> None:
    message = "The disk of MongoDB is 96.2 % full; delete files or raise disk.stop_percent."
    body = {"error": {"message": message, "code": "insufficient_storage"}}
    error = refusal(httpx.Response(507, json=body), "http://api")
    (line,) = errors.lines_of(error)
    assert line == f"error: the server at http://api takes nothing in: {message}".rstrip(".")
    assert errors.exit_code_of(error) == errors.NOT_REACHED


@pytest.mark.parametrize(
    ("percent", "said"), [(50, ""), (85, "warning: mongodb disk: 85.0 %"), (97, "problem: ")]
)
def test_a_stack_that_comes_up_on_a_full_disk_says_so(
    percent: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [disk_check.of_use(DiskUse(percent, 100), Disk())]
    monkeypatch.setattr(disk_check, "check_disk", lambda *_: found)
    state: Any = SimpleNamespace(mongodb_url=f"mongodb://{NOBODY}")
    stack_verbs._warn_of_disk(state, Settings())
    shown = capsys.readouterr().err
    assert shown.startswith(said) and bool(shown) == bool(said)

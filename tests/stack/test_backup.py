"""A backup of a running database, and what becomes of it in another one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, PyMongoError
from typer.testing import CliRunner, Result

from app.api.first_start import prepare
from app.api.services import services_on
from app.backup import restoring, saving
from app.backup.archive import NoBackup
from app.backup.database import opened
from app.backup.restoring import restore
from app.backup.saving import save
from app.cli.main import app
from config.settings import Settings, load_settings
from tests.support.apart import apart
from tests.support.batches import Stores, chat_line, open_stores
from tests.support.engine import Engine, ScriptedTransport, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.errors import UserError
from workers.core.messages import HttpResponse
from workers.queue import Queue
from workers.runtime import Runtime
from workers.store.api_keys import ApiKeys
from workers.store.mongo import NOW, Db, Doc
from workers.store.snapshot import LEFT_OUT, Refill, refuse_half_restored, snapshot

pytestmark = [pytest.mark.integration, pytest.mark.stack]


def quiet(*_: object) -> None:
    """A `Tell` nobody hears."""


@pytest.fixture(scope="module")
def place(servers: TestServers) -> TestServers:
    """A database of these tests alone."""
    return apart(servers, "backup")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making indexes takes most of the time of a small restore."""
    monkeypatch.setattr(restoring, "ensure_indexes", lambda _: None)


@pytest.fixture(scope="module")
def connected(place: TestServers) -> Iterator[Stores]:
    connected = open_stores(place)
    yield connected
    connected.db.client.drop_database(f"{connected.db.name}_restored")
    connected.db.client.close()


@pytest.fixture
def stores(place: TestServers, connected: Stores) -> Stores:
    """What is backed up, with nothing in it."""
    place.empty()
    return connected


@pytest.fixture
def target(connected: Stores) -> Db:
    """Another database, with nothing in it, not even an index."""
    client, name = connected.db.client, f"{connected.db.name}_restored"
    client.drop_database(name)
    return client[name]


def contents(db: Db) -> dict[str, list[Any]]:
    names = [name for name in db.list_collection_names() if name not in LEFT_OUT]
    return {name: docs for name in names if (docs := list(db[name].find().sort("_id")))}


def saved(place: TestServers, path: Path, *, alone: bool = False) -> Path:
    save(place.mongodb_url, place.mongodb_database, path, alone=alone, tell=quiet)
    return path


def restored(place: TestServers, db: Db, path: Path, *, replaces: bool = False) -> None:
    restore(place.mongodb_url, db.name, path, replace=replaces, alone=False, tell=quiet)


def test_a_restored_database_is_the_one_that_was_backed_up_with_its_indexes(
    place: TestServers, stores: Stores, target: Db, tmp_path: Path
) -> None:
    # given work, keys, and what lives for seconds
    batch_id = stores.batch([chat_line("a", "hello")])
    stores.start(batch_id)
    stores.queued(batch_id, 1)
    stores.tenants.ensure("default")
    ApiKeys(stores.db).add("default", "bw_key", name="test")
    stores.db["worker_processes"].insert_one({"_id": "worker-1", "owner": "w"})
    # and a first start of another installation
    target["tenants"].insert_one({"_id": "default", "secret": "its own"})
    # when
    restored(place, target, saved(place, tmp_path / "f"))
    # then
    assert contents(target) == contents(stores.db)
    assert "worker_processes" not in target.list_collection_names()
    for name in ("batch_jobs", "batch_shards", "files.chunks"):
        assert target[name].index_information() == stores.db[name].index_information()


def test_a_backup_shows_one_moment_while_others_write(stores: Stores) -> None:
    stores.db["batch_jobs"].insert_one({"_id": "before"})
    stores.db["files"].insert_one({"_id": "before"})
    with snapshot(stores.db, alone=False) as view:
        stores.db["batch_jobs"].insert_one({"_id": "after"})
        stores.db["files"].delete_one({"_id": "before"})
        assert [len(list(view.documents(name))) for name in ("batch_jobs", "files")] == [1, 1]


@pytest.mark.usefixtures("hurried")
def test_a_database_that_holds_work_is_replaced_only_when_that_is_said(
    place: TestServers, stores: Stores, target: Db, tmp_path: Path
) -> None:
    batch_id = stores.batch()
    path = saved(place, tmp_path / "f")
    target["batch_jobs"].insert_one({"_id": "batch_other"})
    with pytest.raises(UserError, match="holds batches or files") as refused:
        restored(place, target, path)
    assert refused.value.hint is not None and "--replace" in refused.value.hint
    assert target["batch_jobs"].distinct("_id") == ["batch_other"]
    restored(place, target, path, replaces=True)
    assert target["batch_jobs"].distinct("_id") == [batch_id]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("collection", "sign"),
    [
        ("worker_processes", {"_id": "worker-1", "owner": "w@h:1", "seen_at": NOW}),
        ("elections", {"_id": "sweep", "owner": "api@h:1", "until": {"$add": [NOW, 60_000]}}),
    ],
)
def test_nothing_is_restored_under_the_feet_of_workers_or_of_the_api(
    place: TestServers, target: Db, tmp_path: Path, collection: str, sign: dict[str, Any]
) -> None:
    path = saved(place, tmp_path / "f")
    target[collection].update_one({"_id": sign["_id"]}, [{"$set": sign}], upsert=True)
    with pytest.raises(UserError, match="is in use by"):
        restored(place, target, path, replaces=True)
    assert target[collection].count_documents({}) == 1


def test_a_process_that_lives_and_leads_is_named_once(target: Db) -> None:
    target["worker_processes"].insert_one({"_id": "worker-1", "owner": "worker-1@h:1"})
    target["worker_processes"].update_one({}, [{"$set": {"seen_at": NOW}}])
    sign = {"owner": "worker-1@h:1", "until": {"$add": [NOW, 60_000]}}
    target["elections"].update_one({"_id": "sweep"}, [{"$set": sign}], upsert=True)
    assert Refill(target).users() == ["worker-1@h:1"]


@pytest.mark.usefixtures("hurried")
def test_who_starts_while_the_file_is_checked_is_seen_before_anything_is_dropped(
    place: TestServers, stores: Stores, target: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.batch()
    path = saved(place, tmp_path / "f")
    target["batch_jobs"].insert_one({"_id": "batch_other"})

    def starts(*_: object) -> None:
        sign = {"_id": "sweep", "owner": "api@h:1", "until": {"$add": [NOW, 60_000]}}
        target["elections"].update_one({"_id": "sweep"}, [{"$set": sign}], upsert=True)

    monkeypatch.setattr(restoring, "_check", starts)
    with pytest.raises(UserError, match="is in use by api@h:1"):
        restored(place, target, path, replaces=True)
    assert target["batch_jobs"].distinct("_id") == ["batch_other"]


@pytest.mark.usefixtures("hurried")
def test_an_old_backup_is_not_eaten_by_retention_after_its_restore(
    place: TestServers, stores: Stores, target: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a backup of a month ago, of a batch and a file with a day left, and of two that were over then
    taken_at, day_s = time.time() - 30 * 86_400, 86_400.0
    for name, left_s in (("kept", day_s), ("over", -day_s)):
        ends = datetime.fromtimestamp(taken_at + left_s, UTC)
        stores.db["batch_jobs"].insert_one({"_id": name, "status": "completed", "expire_at": ends})
        stores.db["files"].insert_one({"_id": name, "state": "ready", "expires_at": taken_at + left_s})
    with monkeypatch.context() as then:
        then.setattr("app.backup.saving.time.time", lambda: taken_at)
        path = saved(place, tmp_path / "f")
    # when
    restored(place, target, path)
    # then what was kept has its day still, and what was over comes back to nobody
    batches = {doc["_id"]: doc["expire_at"].timestamp() - time.time() for doc in target["batch_jobs"].find()}
    files = {doc["_id"]: doc["expires_at"] - time.time() for doc in target["files"].find()}
    assert batches["kept"] == pytest.approx(day_s, abs=20) == files["kept"]
    assert batches["over"] < 0 and files["over"] < 0


def test_a_changed_file_is_refused_before_anything_is_changed(
    place: TestServers, stores: Stores, target: Db, tmp_path: Path
) -> None:
    stores.batch([chat_line("a", "hello")])
    path = saved(place, tmp_path / "f")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    target["tenants"].insert_one({"_id": "here"})
    with pytest.raises(NoBackup):
        restored(place, target, path)
    assert contents(target) == {"tenants": [{"_id": "here"}]}


@pytest.mark.usefixtures("hurried")
def test_a_restore_that_broke_off_lets_nobody_work_and_is_repeated_without_a_word(
    place: TestServers, stores: Stores, target: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.batch([chat_line("a", "hello")])
    path = saved(place, tmp_path / "f", alone=True)

    def breaks(self: Refill, name: str, documents: Iterator[bytes]) -> None:
        if name == "files":
            raise PyMongoError("gone")
        put(self, name, documents)

    put = Refill.put
    with monkeypatch.context() as patch:
        patch.setattr(Refill, "put", breaks)
        with pytest.raises(UserError, match="refuses"):
            restored(place, target, path)
    assert target["batch_jobs"].count_documents({}) == 1
    with pytest.raises(UserError, match="begun and not ended") as refused:
        refuse_half_restored(target)
    assert refused.value.hint == "repeat it: batchwright restore FILE"
    services = services_on(Settings(), target, Queue("redis://127.0.0.1:1/0"))
    with pytest.raises(UserError, match="begun and not ended"):
        prepare(services, None)
    services.pool.shutdown()
    of_target = {**place.environ(), "BATCHWRIGHT_MONGODB_DATABASE": target.name}
    with pytest.raises(UserError, match="begun and not ended"):
        Runtime(load_settings(of_target), name="worker-1")
    with pytest.raises(UserError, match="begun and not ended"):
        save(place.mongodb_url, target.name, path, alone=False, tell=quiet)
    restored(place, target, path)
    refuse_half_restored(target)
    assert contents(target) == contents(stores.db)


# --- in mid-run


@contextmanager
def runtime_on(engine: Engine, database: str) -> Iterator[tuple[Runtime, ScriptedTransport]]:
    """A worker on another database of the same server, with a provider that counts anew."""
    settings = engine.runtime.settings
    servers = replace(settings.servers, mongodb_database=database)
    runtime = Runtime(replace(settings, servers=servers), name="after")
    runtime.start()
    transport = ScriptedTransport(always_answers)
    runtime.links.update({name: replace(link, transport=transport) for name, link in runtime.links.items()})
    try:
        yield runtime, transport
    finally:
        runtime.stop()


@pytest.mark.usefixtures("hurried")
def test_a_batch_that_ran_when_it_was_backed_up_goes_on_and_asks_nothing_again(
    servers: TestServers, target: Db, tmp_path: Path
) -> None:
    lines = [chat_line(f"c{n}", f"question {n}") for n in range(15)]
    with open_engine(servers, tmp_path, BATCHWRIGHT_SHARD_MAX_ITEMS="5") as engine:
        place = apart(servers, "runtime")
        # given one shard done, one with two of its five answers recorded, one that nobody has
        gate = engine.gate()

        async def two_and_no_more(number: int) -> HttpResponse:
            if number > 7:
                await gate.passed()
            return reply()

        engine.play(two_and_no_more)
        batch_id, first = engine.plan(lines, options={"cache": False})
        second, third = (first[:-1] + str(n) for n in (2, 3))
        engine.run(first)
        running = engine.begin_run(second)
        eventually(lambda: len(engine.rows(batch_id)) == 7, 10.0)
        # when it is backed up, and the first installation goes on to the end
        path = saved(place, tmp_path / "f")
        gate.open()
        running.result(10.0)
        engine.run(third)
        engine.runtime.finalizer.advance(batch_id)
        # and the backup is restored elsewhere, where the leases of the first have ended
        restored(place, target, path)
        recorded = set(target["batch_results"].distinct("custom_id"))
        assert len(recorded) == 7
        past = {"$subtract": [NOW, 1000]}
        target["batch_shards"].update_one({"_id": second}, [{"$set": {"lease_until": past}}])
        with runtime_on(engine, target.name) as (after, provider):
            after.sweeper.sweep()
            for shard_id in (second, third):
                asyncio.run_coroutine_threadsafe(after.steward.run_shard(shard_id), after.loop).result(10.0)
            after.finalizer.advance(batch_id)
            batch = after.stores.batches.get(batch_id)
            found = after.stores.results.recorded(batch_id, 1, 10**6)
            theirs = [found[line] for line in sorted(found)]
        # then
        assert batch is not None and batch["status"] == "completed"
        asked = sorted(each["messages"][0]["content"] for each in provider.asked)
        assert asked == sorted(f"question {n}" for n in range(15) if f"c{n}" not in recorded)
        assert told(theirs) == told(engine.rows(batch_id))


def told(rows: Sequence[Doc]) -> list[Doc]:
    """What a client sees of results, in input order."""
    return [
        {name: doc.get(name) for name in ("line", "custom_id", "ok", "status_code", "body")} for doc in rows
    ]


# --- the command line


@pytest.fixture
def call(place: TestServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    for name, value in {**place.environ(), "BATCHWRIGHT_DATA_DIR": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.mark.usefixtures("hurried")
def test_the_rehearsal_of_the_page_about_backups_does_what_it_says(
    stores: Stores, target: Db, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.batch([chat_line("a", "hello")])
    page = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")
    taken, rehearsed = (
        page.partition("## Rehearse")[2].partition("```sh\n")[2].partition("```")[0].splitlines()
    )
    assert taken.startswith("batchwright backup ")
    done: Result = call(*taken.split()[1:], "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["collections"]["batch_jobs"] == 1
    assert "it holds the tenants' secrets" in done.stderr
    variable, verb = rehearsed.split(" batchwright ")
    assert variable == "BATCHWRIGHT_MONGODB_DATABASE=rehearsal"
    monkeypatch.setenv("BATCHWRIGHT_MONGODB_DATABASE", target.name)
    again: Result = call(*verb.split())
    assert again.exit_code == 0 and "batch_jobs" in again.stdout
    assert contents(target) == contents(stores.db)
    refused: Result = call(*verb.replace("--replace", "").split())
    assert (refused.exit_code, refused.stderr.count("--replace")) == (2, 1)


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_a_stack_that_runs_here_is_not_taken_for_the_database_that_was_named(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "f").write_bytes(b"")
    running = SimpleNamespace(mongodb_url="mongodb://127.0.0.1:1/")
    monkeypatch.setattr("app.embedded.state.read_state", lambda _: running)
    refused: Result = call(verb, "f")
    assert refused.exit_code == 2 and "another MongoDB than the stack" in refused.stderr


def test_what_cannot_be_backed_up_is_said_in_one_line(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_away(url: str, name: str, *_: object, **__: object) -> None:
        with opened(url, name):
            raise AutoReconnect("gone")

    monkeypatch.setattr(saving, "save", is_away)
    away: Result = call("backup", "f.backup")
    assert away.exit_code == 3 and "does not answer" in away.stderr
    with pytest.raises(UserError, match="cannot be understood"), opened("mongodb://127.0.0.1:99999/", "x"):
        pass
    monkeypatch.setenv("BATCHWRIGHT_MONGODB_URL", "")
    nothing: Result = call("backup", "f.backup")
    assert nothing.exit_code == 3 and "holds no database" in nothing.stderr
    assert call("restore", "nowhere").stderr.startswith("error: there is no file nowhere")

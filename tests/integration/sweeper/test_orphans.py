"""What crashes leave that nobody refers to is removed; what is referred to, or is being written, is not."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.collection import Collection

from tests.support.batches import Stores
from tests.support.sweeping import Site
from workers.core.identity import view_file_id
from workers.core.messages import Result
from workers.store.blobs import CHUNK_BYTES
from workers.store.mongo import EPOCH
from workers.store.results import body_name, record

pytestmark = pytest.mark.integration
LARGE = b'"' + b"x" * 1_000_001 + b'"'


class Died(BaseException):
    """The process ends here; nobody catches that."""


def upload(stores: Stores) -> None:
    """Three chunks and a bit."""
    begun = stores.files.begin("file-1", "default", filename="x.jsonl", purpose="batch", expires_at=None)
    for _ in range(3):
        begun.write(b"x" * CHUNK_BYTES)
    begun.write(b"{}\n")
    begun.finish()


def bodies(site: Site) -> list[str]:
    """Names of large bodies in the object store."""
    return [name for name in site.stores.blobs.names("", 99) if name.startswith("body:")]


@pytest.mark.parametrize("nth", range(1, 7))
def test_an_api_that_dies_at_any_write_of_an_upload_leaves_no_orphan_after_a_sweep(
    site: Site, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    # given an upload that is broken off after its n-th write
    written: list[str] = []

    def dying(name: str) -> None:
        plain = getattr(Collection, name)

        def write(docs: Collection[Any], *args: Any, **options: Any) -> Any:
            done = plain(docs, *args, **options)
            written.append(docs.name)
            if len(written) == nth:
                raise Died
            return done

        meanwhile.setattr(Collection, name, write)

    with monkeypatch.context() as meanwhile:
        for name in ("update_one", "insert_one"):
            dying(name)
        with pytest.raises(Died):
            upload(site.stores)
    whole = nth == 6
    assert (site.stores.files.get("file-1") is not None) == whole
    # when it is too young to be taken for one that nobody goes on with, it stays
    site.sweep()
    assert site.left()["files"] == 1
    # and afterwards nothing of it is left, unless it was finished
    site.stores.db["files"].update_one({}, {"$set": {"touched_at": EPOCH}})
    site.sweep()
    assert site.left() == ({"files": 1, "files.chunks": 4} if whole else {})


def test_the_setting_says_when_an_upload_is_given_up(site: Site) -> None:
    site.stores.files.begin("file-1", "default", filename="x", purpose="batch", expires_at=None)
    site.sweep()
    assert site.left() == {"files": 1}
    site.sweeper.stale_upload_s = 0.0
    site.sweep()
    assert site.left() == {}


def test_chunks_without_a_file_go_and_those_of_other_things_stay(site: Site) -> None:
    site.stores.blobs.put("file-of-nobody", b"x" * CHUNK_BYTES * 2)
    site.stores.blobs.put("sample-of-somebody", b"x")
    kept = site.stores.file(b"{}\n")
    site.sweep()
    assert site.stores.db["files.chunks"].distinct("files_id") == sorted([kept, "sample-of-somebody"])


def test_a_large_body_is_an_orphan_once_its_batch_has_ended_and_no_result_names_it(site: Site) -> None:
    # given bodies that were stored and whose results were not: a second answer of an item, and a late one
    batch_id = site.started(2)
    late, twin = b"late" + LARGE, b"twin" + LARGE
    (shard_id,) = site.shards(batch_id)
    for name in (body_name(f"{batch_id}:000000001", twin), body_name(f"{batch_id}:000000002", late)):
        site.stores.blobs.put(name, b"z")
    gone = body_name("batch_gone:000000001", late)
    site.stores.blobs.put(gone, b"z")
    # then those of a batch that runs stay: their results may be on their way
    site.sweep()
    names = bodies(site)
    assert len(names) == 2 and gone not in names
    # and after its end only those stay that its results name
    site.answer(shard_id, body=LARGE)
    site.sweep()
    assert bodies(site) == [body_name(f"{batch_id}:{line:09d}", LARGE) for line in (1, 2)]
    assert len(site.lines(batch_id, ok=True)) == 2


def test_shards_and_results_of_no_batch_or_of_one_that_never_started_go(site: Site) -> None:
    running, never, planning = site.started(1), site.stores.batch(), site.stores.batch()
    assert site.stores.batches.fail(never, [])
    for batch_id in ("batch_gone", never, planning):
        site.stores.queued(batch_id, 1, 1)
        rows = [record(batch_id, "default", "s", 1, Result(line, "c", "none")) for line in (1, 2)]
        assert site.nouns.results.insert(rows) == []
    site.sweep()
    assert set(site.stores.db["batch_shards"].distinct("batch_id")) == {running, planning}
    assert site.stores.results.batch_ids("", 9) == [planning]


def test_a_view_without_a_batch_goes(site: Site) -> None:
    kept = site.completed(1)
    for batch_id in ("batch_gone", kept):
        site.stores.files.put_view(
            view_file_id(batch_id, "error"),
            "default",
            batch_id,
            which="error",
            size_bytes=1,
        )
    site.sweep()
    views = site.stores.db["files"].distinct("_id", {"view": {"$exists": True}})
    assert views == sorted(view_file_id(kept, which) for which in ("error", "output"))


def test_a_deleted_file_goes_once_no_batch_refers_to_it(site: Site) -> None:
    lonely, batch_id = site.stores.file(b"{}\n"), site.started(1)
    needed = site.stores.state(batch_id)["input_file_id"]
    for file_id in (lonely, needed):
        assert site.stores.files.hide(file_id, "default")
    site.sweep()
    assert site.stores.files.for_batch(lonely, "default") is None
    assert site.stores.db["files.chunks"].distinct("files_id") == [needed]
    assert not site.stores.files.drop(site.stores.file(b"{}\n")), "a file that is seen is never dropped"


def test_a_batch_of_another_tenant_that_named_a_file_keeps_none_of_its_bytes(site: Site) -> None:
    file_id = site.stores.file(b"{}\n")
    site.stores.batch(tenant="other", input_file_id=file_id, status="failed")
    assert site.stores.files.hide(file_id, "default")
    site.sweep()
    assert site.stores.db["files.chunks"].distinct("files_id") == []


def test_orphans_behind_many_that_are_none_are_found_in_later_rounds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.orphans.PAGE", 2)
    kept = [site.stores.file(b"{}\n") for _ in range(5)]
    site.stores.blobs.put("file-z", b"x")
    for _ in range(3):
        site.sweep()
    assert site.stores.blobs.names("", 9) == sorted(kept)

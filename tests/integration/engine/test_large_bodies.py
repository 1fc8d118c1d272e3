"""Answers too large for a document, when something goes wrong beside them: each one whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.apart import apart
from tests.support.batches import Stores, open_stores, records
from tests.support.engine import refusing
from tests.support.servers import TestServers
from workers.core.messages import Result
from workers.store.blobs import CHUNK_BYTES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stores(servers: TestServers) -> Iterator[Stores]:
    own = apart(servers, "bodies")
    opened = open_stores(own)
    own.empty()
    yield opened
    opened.db.client.close()


def answer(line: int, letter: str, size_bytes: int) -> Result:
    return Result(line, f"c{line}", "call", 200, b'{"text":"' + letter.encode() * size_bytes + b'"}')


def test_a_body_that_the_object_store_refuses_refuses_only_its_own_result(stores: Stores) -> None:
    results = [answer(1, "a", 5), answer(2, "b", 2 * CHUNK_BYTES), answer(3, "c", 5)]
    with refusing(stores, "files.chunks", {"files_id": {"$regex": "^body:"}}):
        refused = stores.results.insert(records("refused", results))
    assert [rec.result.line for rec in refused] == [2]
    assert stores.results.recorded("refused", 1, 9).keys() == {1, 3}


@pytest.mark.parametrize("sizes", [(3, 2), (2, 3), (2, 2)], ids=str)
def test_two_different_bodies_of_one_item_never_share_chunks(stores: Stores, sizes: tuple[int, int]) -> None:
    batch_id = f"bodies{sizes}"
    left, kept = (answer(1, letter, size * CHUNK_BYTES) for letter, size in zip("xy", sizes, strict=True))
    # given a body that was stored, and a process that then ended before it recorded the result
    with refusing(stores, "batch_results", {"_id": {"$regex": "^bodies"}}):
        assert len(stores.results.insert(records(batch_id, [left]))) == 1
    # when the item has another answer, and a late copy of the first one comes
    assert stores.results.insert(records(batch_id, [kept])) == []
    assert stores.results.insert(records(batch_id, [left])) == []
    # then
    recorded = stores.results.get(f"{batch_id}:000000001")
    assert recorded is not None and recorded.body == kept.body

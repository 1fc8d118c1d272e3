"""An update finds the indexes of the version before: one name stands for one kind of index for ever."""

from __future__ import annotations

import pytest

from workers.store.indexes import INDEXES

pytestmark = pytest.mark.fast
# Indexes that databases of earlier versions hold, by collection and name, with what they are besides their keys.
EARLIER: dict[tuple[str, str], dict[str, object]] = {
    ("batch_jobs", "status_1__id_1"): {},
    ("batch_shards", "batch_id_1_status_1"): {},
    ("files", "state_1_touched_at_1"): {},
}


def test_no_index_takes_the_name_of_an_earlier_one_of_another_kind() -> None:
    # MongoDB refuses to make it, and no API or worker would start on that database.
    for collection, indexes in INDEXES.items():
        for index in indexes:
            now = {name: value for name, value in index.document.items() if name not in ("name", "key")}
            assert EARLIER.get((collection, index.document["name"]), now) == now


def test_no_two_indexes_of_a_collection_have_one_name() -> None:
    for indexes in INDEXES.values():
        names = [index.document["name"] for index in indexes]
        assert len(names) == len(set(names))

"""What is said of indexes that are there, are not, or are otherwise. No server is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import ASCENDING, IndexModel

from app.doctor.indexes_check import of_indexes
from workers.store.index_check import compare
from workers.store.indexes import INDEXES

pytestmark = pytest.mark.fast
TTL = IndexModel([("expire_at", ASCENDING)], expireAfterSeconds=0, sparse=True)
PLAIN = IndexModel([("tenant", ASCENDING), ("_id", -1)])


def listed(model: IndexModel, **changed: Any) -> dict[str, Any]:
    """An index as listIndexes lists it: fields of text under one pair of keys, figures as the server keeps them."""
    doc = dict(model.document)
    keys = dict(doc["key"])
    words = [name for name, kind in keys.items() if kind == "text"]
    if words:
        keys = {name: kind for name, kind in keys.items() if kind != "text"} | {"_fts": "text", "_ftsx": 1}
        doc |= {"weights": dict.fromkeys(words, 1), "textIndexVersion": 3}
    return {"v": 2, **doc, "key": {name: float(k) if k == 1 else k for name, k in keys.items()}, **changed}


def states(
    *there: dict[str, Any], wanted: tuple[IndexModel, ...] = (TTL, PLAIN), **more: Any
) -> dict[str, str]:
    return {each.name: each.state for each in compare("c", wanted, there, **more)}


@given(st.sampled_from(sorted(INDEXES)), st.data())
def test_what_was_made_as_asked_is_as_it_should_be_and_the_rest_is_missing(
    name: str, data: st.DataObject
) -> None:
    made = data.draw(st.lists(st.sampled_from(INDEXES[name]), unique_by=id))
    found = compare(name, INDEXES[name], [listed(model) for model in made])
    assert {each.name for each in found if each.state == "ok"} == {model.document["name"] for model in made}
    assert all(each.state in ("ok", "missing") for each in found)
    assert len(found) == len(INDEXES[name])


def test_an_index_that_is_otherwise_is_named_with_what_to_do() -> None:
    (ttl, plain) = compare(
        "c", (TTL, PLAIN), [listed(TTL, expireAfterSeconds=60), listed(PLAIN, key={"x": 1})]
    )
    assert (ttl.state, plain.state) == ("differs", "differs")
    assert ttl.text == "expire_at_1 is in its place: expireAfterSeconds is 60 and should be 0"
    assert plain.text == "tenant_1__id_-1 is in its place: key is x 1 and should be tenant 1 _id -1"
    assert 'db.getCollection("c").dropIndex("expire_at_1")' in ttl.fix and "db init" in ttl.fix


def test_the_same_index_under_another_name_serves() -> None:
    assert states(listed(PLAIN, name="mine"), listed(TTL)) == {"expire_at_1": "ok", "tenant_1__id_-1": "ok"}


def test_a_hidden_one_serves_nobody() -> None:
    assert states(listed(PLAIN, hidden=True), listed(TTL))["tenant_1__id_-1"] == "differs"


def test_one_that_is_built_and_one_nobody_knows_are_no_fault() -> None:
    there = (
        listed(PLAIN),
        listed(TTL),
        {"name": "theirs", "key": {"a": 1}},
        {"name": "_id_", "key": {"_id": 1}},
    )
    found = states(*there, building=frozenset({"tenant_1__id_-1"}))
    assert found == {"expire_at_1": "ok", "tenant_1__id_-1": "building", "theirs": "unexpected"}


def test_where_the_server_removes_nothing_by_ttl_those_indexes_say_so() -> None:
    assert states(listed(PLAIN), listed(TTL), expires=False) == {
        "expire_at_1": "not expiring",
        "tenant_1__id_-1": "ok",
    }


def test_the_doctor_has_one_line_for_all() -> None:
    lacking = of_indexes(compare("c", (TTL, PLAIN), [listed(PLAIN)]))
    assert (lacking.state, lacking.text) == ("warning", "missing: c.expire_at_1")
    assert "db init" in lacking.fix
    assert of_indexes(compare("c", (TTL, PLAIN), [listed(PLAIN), listed(TTL)])).text == "2 as they should be"
    assert of_indexes(compare("c", (TTL, PLAIN), [])).state == "ok"


def test_every_collection_that_people_ask_for_has_its_indexes() -> None:
    least = {"users": 5, "audio_files": 9, "analyses": 6, "batch_jobs": 4, "sessions": 3}
    assert all(len(INDEXES[name]) >= count for name, count in least.items())
    texts = [
        name
        for name, models in INDEXES.items()
        for model in models
        if "text" in dict(model.document["key"]).values()
    ]
    assert texts == ["audio_files", "analyses"]

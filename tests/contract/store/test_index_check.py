"""Indexes in a real MongoDB: made once by two at once, compared with what is there, one in the way named."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tests.support.servers import TestServers
from workers.core.errors import UserError
from workers.store import index_check, mongo
from workers.store.index_check import check, collections, make_missing
from workers.store.indexes import INDEXES
from workers.store.mongo import Db, connect, ensure_indexes

FEW = {name: INDEXES[name] for name in ("analyses", "sessions")}


@pytest.fixture
def db(store_servers: TestServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    """A new database, for which two collections are enough."""
    monkeypatch.setattr(index_check, "INDEXES", FEW)
    monkeypatch.setattr(mongo, "_INDEXES", FEW)
    with connect(store_servers.mongodb_url) as client:
        name = f"{store_servers.mongodb_database}_indexes"
        client.drop_database(name)
        yield client[name]
        client.drop_database(name)


def test_two_at_once_make_what_is_missing_and_the_server_lists_it_as_asked(db: Db) -> None:
    assert {each.state for each in check(db)} == {"missing"}
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: make_missing(db), range(2))) == [[], []]
    assert {each.state for each in check(db)} == {"ok"}
    told: list[str] = []
    assert make_missing(db, lambda name, _: told.append(name)) == [] and told == []
    # Then words are found, of one tenant alone, whatever a document says of its language.
    db["analyses"].insert_one({"_id": 1, "tenant": "a", "genre": "Deep House", "language": "unheard of"})
    found = [
        list(db["analyses"].find({"tenant": name, "$text": {"$search": "house"}})) for name in ("a", "b")
    ]
    assert list(map(len, found)) == [1, 0]
    size = {each.name: each for each in collections(db)}["analyses"]
    assert size.documents == 1 and size.data_bytes > 50
    assert len(size.index_bytes) == len(FEW["analyses"]) + 1


def test_an_index_in_the_way_is_named_and_the_others_are_made(db: Db) -> None:
    db["sessions"].create_index([("user_id", 1)], name="expire_at_1")
    (left,) = make_missing(db)
    assert (left.collection, left.name, left.state) == ("sessions", "expire_at_1", "differs")
    with pytest.raises(UserError, match="in the place of one that sessions needs") as caught:
        ensure_indexes(db)
    assert caught.value.hint and "db check" in caught.value.hint
    # When it is dropped as the fix says, then the rest is made.
    db["sessions"].drop_index("expire_at_1")
    assert make_missing(db) == []


def test_what_the_server_refuses_is_lacking_with_its_reason_and_without_values(db: Db) -> None:
    db["sessions"].insert_many([{"_id": number, "token_hash": "secret"} for number in range(2)])
    left = {each.name: each for each in make_missing(db) if each.collection == "sessions"}
    assert left["token_hash_1"].text == "the server refuses to make it (DuplicateKey)"
    # and not by the same command again, which would be refused again
    assert left["token_hash_1"].fix == "see the log of MongoDB"
    assert "secret" not in str(left)


def test_who_may_make_none_is_told_which_role_it_takes(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationFailure("not authorized", 13, {"codeName": "Unauthorized"})

    monkeypatch.setattr(Collection, "create_indexes", refuse)
    left = make_missing(db)
    assert left and all("(Unauthorized)" in each.text and "readWrite" in each.fix for each in left)

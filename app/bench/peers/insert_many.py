"""The limit of recording: bare unordered bulks of the very documents that our engine has just written.

A lap is {batch_id, bulk}: the results of that batch are read and given other ids, then inserted bulk after
bulk, acknowledged by the majority and journalled, as the engine's are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymongo
from bson.raw_bson import RawBSONDocument

from app.bench.peers.serving import Engine, serve

_COLLECTION = "bench_inserted"


class InsertMany(Engine):
    """One connection, one bulk at a time."""

    version = f"pymongo {pymongo.version}"

    async def open(self) -> None:
        """Connect."""
        self._client: Any = pymongo.MongoClient(self.rules["mongodb_url"], w="majority", journal=True)
        self._db = self._client[self.rules["mongodb_database"]]

    def prepare(self, lap: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The documents, and an empty collection that exists."""
        self._db.drop_collection(_COLLECTION)
        self._db.create_collection(_COLLECTION)
        self._bulk = int(lap["bulk"])
        return list(self._db["batch_results"].find(_of(lap["batch_id"])).sort("_id", 1))

    async def answer(self, work: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Insert them all."""
        target = self._db[_COLLECTION]
        for start in range(0, len(work), self._bulk):
            target.insert_many(work[start : start + self._bulk], ordered=False)
        return work

    async def wrong(self, lap: Mapping[str, Any], done: Sequence[Any]) -> list[str]:
        """Whether every document stands there, byte for byte."""
        raw = self._client.get_database(
            self.rules["mongodb_database"],
            codec_options=self._db.codec_options.with_options(document_class=RawBSONDocument),
        )
        pairs = zip(
            raw["batch_results"].find(_of(lap["batch_id"])).sort("_id", 1),
            raw[_COLLECTION].find().sort("_id", 1),
            strict=False,
        )
        same = sum(ours.raw == theirs.raw for ours, theirs in pairs)
        wrong = [] if same == len(done) else [f"{same} of {len(done)} documents stand there unchanged"]
        self._db.drop_collection(_COLLECTION)
        return wrong

    async def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _of(batch_id: str) -> dict[str, Any]:
    return {"_id": {"$gt": f"{batch_id}:", "$lt": f"{batch_id};"}}


if __name__ == "__main__":
    serve(InsertMany)

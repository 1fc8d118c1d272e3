"""How full MongoDB's own disk is, as its command `dbStats` tells for embedded and remote servers alike.

Source: https://www.mongodb.com/docs/manual/reference/command/dbStats/ (fsUsedSize, fsTotalSize; bytes).
"""

from __future__ import annotations

import pymongo
from pymongo.errors import OperationFailure

from workers.core.disk import DiskUse, fullest
from workers.store.mongo import MONGO_DOWN, Db, Doc

_PATIENCE_S = 3.0


class Disk:
    """Asked every few seconds, by those who take something in."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def use(self) -> DiskUse | None:
        """The fill of the disk, of the fullest shard's in a sharded cluster.

        None where the server does not tell: some hosted ones do not, some want a right that we lack.
        Raises: MONGO_DOWN errors.
        """
        try:
            with pymongo.timeout(_PATIENCE_S):
                stats = self._db.command("dbStats")
        except MONGO_DOWN:
            raise
        except OperationFailure:
            return None
        return told(stats)


def told(stats: Doc) -> DiskUse | None:
    """What an answer of `dbStats` says; a cluster's has one for each shard under `raw`."""
    answers = [stats, *stats.get("raw", {}).values()]
    return fullest([use for answer in answers if (use := _of_server(answer)) is not None])


def _of_server(answer: Doc) -> DiskUse | None:
    used, total = answer.get("fsUsedSize"), answer.get("fsTotalSize")
    if used is None or not total:
        return None
    return DiskUse(int(used), int(total))

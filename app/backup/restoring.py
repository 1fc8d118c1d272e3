"""From a file into a database that holds no work, all of it or visibly not.

The command line's `restore` calls. Batches that ran when the backup was taken go on: the leases in it have ended, the
sweeper gives their shards to workers, and what is recorded is not called again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from app.backup.archive import Manifest, Tell, read_manifest, read_parts
from app.backup.database import opened
from workers.core.errors import UserError
from workers.store.mongo import ensure_indexes
from workers.store.snapshot import Refill


def restore(
    url: str,
    database: str,
    path: Path,
    *,
    replace: bool,
    alone: bool,
    tell: Tell,
    begins: Callable[[], None] = lambda: None,
) -> Manifest:
    """Check the whole file, then write it.

    Args:
        replace: what the database holds may go.
        alone: nobody else can be using it.
        begins: called right before the first change.
    Raises: UserError; before anything is changed, but for the errors of MongoDB, after which the database says that it
        is not whole until this is repeated.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    with file, opened(url, database) as db:
        manifest = read_manifest(file)
        refill = Refill(db)
        _refuse(refill, database, replace=replace, alone=alone)
        _check(file, manifest, tell)
        # Reading a large file takes long: who has come since?
        _refuse(refill, database, replace=replace, alone=alone)
        begins()
        refill.begin()
        ensure_indexes(db)
        for name, documents in read_parts(file, manifest, tell):
            refill.put(name, documents)
        refill.end(manifest.created_at)
    return manifest


def _refuse(refill: Refill, database: str, *, replace: bool, alone: bool) -> None:
    users = [] if alone else refill.users()
    if users:
        raise UserError(
            f"the database {database} is in use by {', '.join(users[:5])}",
            hint="stop API and workers first (`batchwright down`); one that was killed counts for 10 s more",
        )
    if not replace and refill.is_used():
        raise UserError(
            f"the database {database} holds batches or files",
            hint="restore into another one (BATCHWRIGHT_MONGODB_DATABASE), or say --replace to lose them",
        )


def _check(file: IO[bytes], manifest: Manifest, tell: Tell) -> None:
    """Read all of it once. Raises NoBackup."""
    for _, documents in read_parts(file, manifest, tell):
        deque(documents, maxlen=0)

"""From a database into a file, at one moment of it, while everything runs.

The command line's `backup` calls. The file appears under its name when it is whole and on the disk, not before.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.backup.archive import Manifest, Tell, Writer
from app.backup.database import opened
from app.version import VERSION
from workers.core.errors import UserError
from workers.store.mongo import Db
from workers.store.snapshot import refuse_half_restored, snapshot


def save(url: str, database: str, path: Path, *, alone: bool, tell: Tell) -> Manifest:
    """Write a backup.

    Args:
        alone: nobody else uses this database, so that reading it may take any time.
    Raises: UserError, after which nothing is left of the file; one that was there before is.
    """
    with opened(url, database) as db, _appearing(path) as file:
        return _written(db, file, alone=alone, tell=tell)


def _written(db: Db, file: IO[bytes], *, alone: bool, tell: Tell) -> Manifest:
    refuse_half_restored(db)  # its backup would take the place of a whole one, and say nothing
    writer, created_at = Writer(file), time.time()
    with snapshot(db, alone=alone) as view:
        for name in view.names:
            writer.add(name, view.documents(name), tell)
    return writer.finish(created_at=created_at, version=VERSION, database=db.name)


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file for its owner's eyes that gets its name at the end of the block, or is gone."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        if path.is_dir():
            raise UserError(f"{path} is a directory", hint="name a file in it")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _keep_name(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _keep_name(directory: Path) -> None:
    """A rename is on the disk once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"the disk is full: {path} is not written", hint="free some space, or name another disk"
        )
    return UserError(f"cannot write {path}: {error.strerror or error}")

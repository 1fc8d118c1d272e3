"""The database of a backup or a restore, with its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from workers.core.errors import StoreUnavailable, UserError
from workers.store.mongo import MONGO_DOWN, STORE_TROUBLE, Db, connect


class DatabaseAway(UserError, StoreUnavailable):
    """MongoDB does not answer."""


@contextmanager
def opened(url: str, database: str) -> Iterator[Db]:
    """The database while it is used. Raises UserError for whatever it refuses, DatabaseAway where it is silent."""
    where = urlsplit(url).netloc.rpartition("@")[2]
    try:
        try:
            client = connect(url, app_name="batchwright-backup", min_pool=0, max_pool=2)
        except ValueError as error:  # the driver's word for a port that is none
            text = f"the address of MongoDB cannot be understood: {error}"
            raise UserError(text, hint="correct BATCHWRIGHT_MONGODB_URL") from error
        with client:
            yield client[database]
    except MONGO_DOWN as error:
        raise DatabaseAway(
            f"MongoDB at {where} does not answer ({type(error).__name__})", hint="see `batchwright doctor`"
        ) from error
    except STORE_TROUBLE as error:
        code = getattr(error, "code", None)
        raise UserError(
            f"MongoDB at {where} refuses ({type(error).__name__}{f', code {code}' if code else ''})",
            hint="see `batchwright doctor`, and the log of MongoDB",
        ) from error

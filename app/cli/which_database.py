"""Which MongoDB a verb means that works on the database itself, and an embedded one started for it where none runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.cli.errors import NOT_REACHED, CliError
from app.cli.live import Steps

if TYPE_CHECKING:
    from app.cli.live import Display
    from config.settings import Settings


@dataclass(frozen=True, slots=True)
class WhichDatabase:
    """Where it is; `alone`: nobody else can use it now."""

    url: str = field(repr=False)
    name: str
    alone: bool


@contextmanager
def which_database(
    settings: Settings, doing: str, display: Display, *, may_be_new: bool
) -> Iterator[WhichDatabase]:
    """The running stack's, else the one that is named, else the embedded one, started alone for this."""
    from app.embedded.mongod_alone import holds_database, mongod_alone
    from app.embedded.state import read_state

    state, named = read_state(settings.data_dir), settings.servers.mongodb_url
    name = settings.servers.mongodb_database
    url = state.mongodb_url if state is not None else named
    if named is not None and url != named:
        raise CliError(
            f"BATCHWRIGHT_MONGODB_URL names another MongoDB than the stack that runs in {settings.data_dir} has",
            hint="unset it to mean the stack's, or set BATCHWRIGHT_DATA_DIR to another directory to mean that one",
        )
    if url is not None:
        yield WhichDatabase(url, name, alone=False)
        return
    if not may_be_new and not holds_database(settings.data_dir):
        raise CliError(
            f"{settings.data_dir} holds no database, and BATCHWRIGHT_MONGODB_URL names none",
            hint="see whether BATCHWRIGHT_DATA_DIR is the one that `batchwright up` works with",
            exit_code=NOT_REACHED,
        )
    with mongod_alone(settings.data_dir, doing, Steps(display)) as alone_url:
        yield WhichDatabase(alone_url, name, alone=True)


@contextmanager
def away_is_not_reached() -> Iterator[None]:
    """Give the exit code of a server that is not there to whatever finds the database silent."""
    from app.backup.database import DatabaseAway

    try:
        yield
    except DatabaseAway as error:
        raise CliError(error.message, hint=error.hint, exit_code=NOT_REACHED) from error

"""Which server to talk to, and with which key: what a setting names, else the stack that runs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.core.errors import UserError

if TYPE_CHECKING:
    from config.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """An API and the key it wants."""

    url: str
    key: str | None = field(repr=False)


def locate(settings: Settings) -> Place:
    """The server of these settings.

    Raises: UserError when none is named and none runs on this data directory.
    """
    from app.embedded.state import read_state

    key = settings.api.key.reveal() if settings.api.key else None
    if settings.api.url:
        return Place(settings.api.url, key)
    state = read_state(settings.data_dir)
    if state is None:
        raise NoServer(
            f"no stack runs in {settings.data_dir}, and BATCHWRIGHT_API_URL names no server",
            hint="start one with `batchwright up --detach`",
        )
    # A key meant for another server would only be refused by this one, which made its own.
    return Place(state.api_url, state.api_key)


class NoServer(UserError):
    """There is no server to talk to."""

"""Which server to talk to, and with which key: what a setting names, else the stack that runs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.core.errors import UserError

if TYPE_CHECKING:
    from app.embedded.state import StackState
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

    if settings.api.url:
        return Place(settings.api.url, _key(settings))
    state = read_state(settings.data_dir)
    if state is None:
        raise NoServer(
            f"no stack runs in {settings.data_dir}, and BATCHWRIGHT_API_URL names no server",
            hint="start one with `batchwright up --detach`",
        )
    return place_of(state, settings)


def place_of(state: StackState, settings: Settings) -> Place:
    """The API of a stack that runs here, with its own key unless the settings have one: who set that means it."""
    return Place(state.api_url, _key(settings) or state.api_key)


def _key(settings: Settings) -> str | None:
    return settings.api.key.reveal() if settings.api.key else None


class NoServer(UserError):
    """There is no server to talk to."""

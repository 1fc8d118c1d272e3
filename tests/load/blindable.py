"""A worker that can be told to look away, to see what its watching costs: `python -m tests.load.blindable --name w1`.

SIGUSR2 turns all observation off and on again: what is counted and timed, the vital signs beyond "alive", the figures
by the minute, the pings of servers and Celery's events. `WATCHING_FILE` is told how it stands, `on` or `off`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from celery.signals import worker_ready

from workers.analytics import MinuteWriter
from workers.beats import Beats
from workers.main import main
from workers.observed import Observed
from workers.roundtrips import RoundTrips
from workers.vitals import Vitals

WATCHING_FILE: Final = "WATCHING_FILE"


def nothing(*_: object, **__: object) -> None:
    """In the place of what counts."""


async def nothing_either(_: object) -> None:
    """In the place of what asks."""


def alive(beats: Beats) -> Vitals:
    """All that is said while it looks away."""
    return Vitals(transport=beats.transport, started_at=0.0)


_BLIND: Final[Mapping[tuple[type[Any], str], Callable[..., Any]]] = {
    (Observed, "count"): nothing,
    (Observed, "time"): nothing,
    (MinuteWriter, "flush"): nothing,
    (RoundTrips, "once"): nothing_either,
    (Beats, "vitals"): alive,
}
_SEEING: Final = {place: getattr(*place) for place in _BLIND}


class Watching:
    """Whether this process watches itself."""

    def __init__(self) -> None:
        self.on = True
        self.events: Any = None

    def turn(self, *_: object) -> None:
        """Off, or on again."""
        self.on = not self.on
        for (owner, name), call in (_SEEING if self.on else _BLIND).items():
            setattr(owner, name, call)
        if self.events is not None:
            self.events.enabled = self.on
        self.tell()

    def tell(self) -> None:
        """Say how it stands."""
        Path(os.environ[WATCHING_FILE]).write_text("on" if self.on else "off", encoding="ascii")


if __name__ == "__main__":
    watching = Watching()

    @worker_ready.connect
    def _begin(sender: Any, **_: Any) -> None:
        watching.events = sender.event_dispatcher
        signal.signal(signal.SIGUSR2, watching.turn)
        watching.tell()

    main()

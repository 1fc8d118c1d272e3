"""What every so often has to be done once in the whole installation: a table, and the tick that walks it.

Beat has a tick sent every five seconds (beat.py), any worker takes it, and MongoDB decides which chores are due and
that one worker at a time does each (store/chores.py). A chore may find that it was broken off, or done twice at once
when it takes longer than its lease: each must be safe to repeat. What must go on without beat belongs to the sweeper.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers import alerting
from workers.celery_config import TICK_S
from workers.schedules import ROUND_S
from workers.store.mongo import STORE_TROUBLE
from workers.warming import refresh_most_asked

if TYPE_CHECKING:
    from workers.runtime import Runtime

log = logging.getLogger(__name__)

LEASE_S = 120.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every `every_s` seconds, at the ticks: `run` blocks a thread, for less than `lease_s`.

    When its worker is killed meanwhile, nobody does it until the lease is over.
    """

    name: str
    every_s: float
    run: Callable[[Runtime], None]
    lease_s: float = LEASE_S


CHORES: tuple[Chore, ...] = (
    Chore("schedules", TICK_S, lambda runtime: runtime.firing.round(), lease_s=2 * ROUND_S),
    Chore("refresh_most_asked", 60.0, refresh_most_asked),
    *(Chore(*each) for each in alerting.CHORES),
)


def tick(runtime: Runtime, table: Sequence[Chore] | None = None) -> str:
    """Do those chores that are due and that nobody else is at; gives their names.

    What goes wrong in one is logged and stops no other.
    """
    store, done = runtime.stores.chores, []
    store.hear_beat()
    for chore in CHORES if table is None else table:
        # By a name of its own: this process may have a second tick while it is at the first.
        owner = f"{runtime.owner} {uuid.uuid4().hex[:8]}"
        # Ticks are never quite as far apart as they should be; without some slack every second one would be too soon.
        if not store.begin(chore.name, owner, every_s=chore.every_s - TICK_S / 2, lease_s=chore.lease_s):
            continue
        try:
            chore.run(runtime)
            done.append(chore.name)
        except STORE_TROUBLE as error:
            log.warning("chore %s: %s", chore.name, type(error).__name__)
        except Exception:
            log.exception("chore %s", chore.name)
        finally:
            store.end(chore.name, owner)
    return " ".join(done) or "nothing is due"

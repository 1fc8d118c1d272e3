"""A way through a long row of ids, a piece in each round: what stands in front never keeps the rest from its turn.

The steps of the sweeper walk: by id, from where the last round stopped, no longer than they may.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from workers.store.mongo import STORE_TROUBLE, refuses_writes

log = logging.getLogger(__name__)

Look = Callable[[str, int], list[str]]
PAGE = 500


@dataclass(slots=True)
class Walk:
    """A place in the row, kept between rounds. `name` is for the log."""

    name: str
    after: str = ""

    def page(self, look: Look, limit: int) -> list[str]:
        """The next ids; after the last ones it begins anew."""
        found = look(self.after, limit)
        self.after = found[-1] if len(found) == limit else ""
        return found

    def each(self, look: Look, act: Callable[[str], object], until: float) -> bool:
        """Act on id after id until the end of the row. False if the time (monotonic seconds) was over before it."""
        while True:
            found = look(self.after, PAGE)
            for one in found:
                if time.monotonic() > until:
                    return False
                self.after = one  # also when it takes all the time there is: the next round begins behind it
                safely(self.name, one, act)
            if len(found) < PAGE:
                self.after = ""
                return True


def safely(step: str, one: str, act: Callable[[str], object]) -> None:
    """Act on one id. What is wrong with it is logged and stops no other.

    Raises: STORE_TROUBLE if the database answers to nobody now, or takes no write from anybody.
    """
    try:
        act(one)
    except STORE_TROUBLE as error:
        if refuses_writes(error):
            raise
        log.exception("%s: %s is left as it is", step, one)
    except Exception:
        log.exception("%s: %s is left as it is", step, one)

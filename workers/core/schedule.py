"""When a schedule is due, and what follows when a due time has passed. Pure: `now` comes as an argument.

Times are whole Unix seconds. A rhythm is a cron expression in a time zone, or every N seconds from an anchor, which
does not drift. workers/schedules.py takes one `Step` after the other; what is due next stands in the database, so a
step that was broken off is taken again.

Cron is that of Debian's cron(8), by the library cronsim: five fields, and where clocks are put forward a fixed time
within the gap comes right after it; where they are put back it comes once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

Policy = Literal["once", "all", "skip"]
FIELDS: Final = ("minute", "hour", "day-of-month", "month", "day-of-week")
_RANGES: Final = ("0-59", "0-23", "1-31 or L", "1-12 or JAN-DEC", "0-7 or SUN-SAT")
MAX_CRON_CHARACTERS: Final = 128
# As often as anybody looks, and as seldom as anybody remembers.
LEAST_EVERY_S: Final = 5
MOST_EVERY_S: Final = 366 * 86_400
# A tick is looked at every five seconds; who comes later than this has missed it.
LATE_S: Final = 60
# Of those missed, so many run at most where all are to.
MOST_AT_ONCE: Final = 100
_CATCH_UP: Final = {"once": 1, "all": MOST_AT_ONCE, "skip": 0}
# Due times that are looked at together; the rest of a long outage follows at the next look.
_PAGE: Final = 1_000


class BadRhythm(ValueError):
    """A rhythm that cannot be kept: `field` names the parameter, the text says why."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields, read in an IANA time zone."""

    expression: str
    timezone: str = "UTC"

    def after(self, moment: int) -> Iterator[int]:
        """Due times later than that, in order."""
        times = CronSim(self.expression, datetime.fromtimestamp(moment, zone_of(self.timezone)))
        last = moment
        for each in times:
            # In the hour that clocks repeat, cronsim counts from its first passing: what lies before us is over.
            if (due := int(each.timestamp())) > last:
                last = due
                yield due


@dataclass(frozen=True, slots=True)
class Every:
    """Every `every_s` seconds after `anchor`."""

    every_s: int
    anchor: int

    def after(self, moment: int) -> Iterator[int]:
        """Due times later than that, in order."""
        passed = max(0, (moment - self.anchor) // self.every_s)
        due = self.anchor + passed * self.every_s
        while True:
            due += self.every_s
            yield due


Rhythm = Cron | Every


@dataclass(frozen=True, slots=True)
class Run:
    """Run for this due time; `then` is due next."""

    due: int
    then: int


@dataclass(frozen=True, slots=True)
class Missed:
    """Tell that these due times, from the first to the last, have passed and nothing ran; `then` is due next."""

    first: int
    last: int
    count: int
    then: int


Step = Run | Missed


def check_cron(expression: str, timezone: str) -> Cron:
    """The rhythm of this expression. Raises BadRhythm, naming the field of it that is wrong."""
    try:
        zone_of(timezone)
    except (KeyError, OSError, ValueError):  # no such file, a directory, or no name of one
        text = f"there is no time zone '{timezone}'; names are those of IANA, as in Europe/Berlin"
        raise BadRhythm("timezone", text) from None
    parts = expression.split()
    if len(parts) != len(FIELDS):
        text = f"'{expression}' has {len(parts)} fields, and cron has five: {' '.join(FIELDS)}"
        raise BadRhythm("cron", text)
    for place, part in enumerate(parts):
        alone = ["*"] * len(FIELDS)
        alone[place] = part
        if not _is_read(" ".join(alone)):
            text = f"'{part}' is no {FIELDS[place]} ({_RANGES[place]}; *, lists, ranges, steps) in '{expression}'"
            raise BadRhythm("cron", text)
    cron = Cron(" ".join(parts), timezone)
    if not _is_read(cron.expression) or next(cron.after(_SOME_DAY), None) is None:
        raise BadRhythm("cron", f"no day fits '{expression}': its day-of-month does not come in its month")
    return cron


def zone_of(name: str) -> tzinfo:
    """The time zone of this name, as the system's database has it; UTC needs none."""
    return UTC if name == "UTC" else ZoneInfo(name)


def next_due(rhythm: Rhythm, after: int) -> int:
    """The first due time later than that."""
    return next(iter(rhythm.after(after)))


def upcoming(rhythm: Rhythm, due: int, count: int) -> list[int]:
    """The next due times, that one included."""
    times = rhythm.after(due)
    return [due, *(next(times) for _ in range(count - 1))]


def steps(rhythm: Rhythm, due: int, now: int, policy: Policy) -> list[Step]:
    """What follows from the clock, in order; nothing while `due`, which is next, lies ahead.

    A due time within the last `LATE_S` runs. Of those missed before it, none runs by `skip`; by `once` the last,
    unless one that is on time stands for it; by `all` each, the last `MOST_AT_ONCE` at most.
    """
    if due > now:
        return []
    times, dues = rhythm.after(due), [due]
    for then in times:
        if then > now or len(dues) == _PAGE:
            break
        dues.append(then)
    late = sum(each < now - LATE_S for each in dues)
    catch_up = _CATCH_UP[policy]
    missed = late if policy == "once" and late < len(dues) else max(0, late - catch_up)
    # Where these are not all, it is decided with the rest which of them run.
    running = len(dues) - missed if then > now else 0
    follows = [*dues[1:], then]
    found: list[Step] = []
    if missed:
        found.append(Missed(dues[0], dues[missed - 1], missed, follows[missed - 1]))
    found += [Run(dues[at], follows[at]) for at in range(missed, missed + running)]
    return found


# Any will do to see whether an expression ever comes; the next 50 years are looked at.
_SOME_DAY = 1_767_225_600


def _is_read(expression: str) -> bool:
    try:
        CronSim(expression, datetime.fromtimestamp(_SOME_DAY, UTC))
    except (CronSimError, ValueError, TypeError, AssertionError):
        return False
    return True

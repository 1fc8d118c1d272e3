"""Make the batches that schedules ask for, each due time's once: what chores.py does at every tick.

A due time becomes a run (its id is derived), the run a batch (under an idempotency key that is the run's id), and only
then the schedule moves on to its next due time. Whoever dies in between, or does the same at the same moment, comes to
the same run and the same batch. A person may have one run beside the clock; it goes the same way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import blake3

from config.settings import Settings
from config.tree import Disk as DiskBounds
from workers import metrics
from workers.core import states
from workers.core.disk import DiskUse, Room, no_room_text, room_left
from workers.core.errors import StoreUnavailable
from workers.core.schedule import Missed, Policy, Run, Step, next_due, steps
from workers.core.tenant_limits import QUEUED_ITEMS
from workers.core.warming import made_to_warm
from workers.creation import Defaults, new_batch, refusal_of_queue, write_down
from workers.observed import OBSERVED
from workers.queue import Queue
from workers.store.contact import Contact
from workers.store.mongo import Doc
from workers.store.schedules import (
    MISSED,
    REFUSED,
    STARTED,
    STARTING,
    due_of,
    missed_event,
    rhythm_of,
    run_id,
)
from workers.store.stores import Stores
from workers.walk import safely

log = logging.getLogger(__name__)

AT_ONCE = 50
# Each waits for the database all the time: of 10,000 that are due at 5:00 the last would else be as good as missed.
TOGETHER = 4
# Far less than a due time may be late (core/schedule.py): who dies in a round holds the next one up for twice as long.
ROUND_S = 10.0
INSUFFICIENT_STORAGE = "insufficient_storage"


@dataclass(frozen=True, slots=True)
class Firing:
    """Blocking; `round` by the clock, `run` also where a person asks for it.

    Attributes:
        missed: what holds for a schedule that says nothing of missed runs.
        disk_use: how full MongoDB's disk is; None where nobody knows.
        broker: whether the queue takes hints.
    """

    stores: Stores
    queue: Queue
    defaults: Defaults
    missed: Policy
    disk_use: Callable[[], DiskUse | None]
    disk: DiskBounds
    broker: Contact = field(default_factory=lambda: Contact("the broker", "the sweeper has batches planned"))

    def round(self, within_s: float = ROUND_S) -> None:
        """Settle what is due, and what was broken off. What is wrong with one schedule stops no other."""
        until = time.monotonic() + within_s
        # The batches of a tenant that goes would be ended as they come, and keep it from going.
        erasing, store = self.stores.tenants.erasing(), self.stores.schedules
        _each("schedules", store.due(erasing), self.fire, until)
        _each("schedule runs", store.abandoned(erasing), self._end, until)

    def fire(self, schedule: Doc) -> None:
        """Take the steps of one that is due, as `Schedules.due` gives it, until somebody else has taken one."""
        due, rhythm = due_of(schedule), rhythm_of(schedule)
        policy = schedule["missed"] or self.missed
        for step in steps(rhythm, due, int(schedule["now_s"]), policy):
            if not self._take(schedule, due, step, policy):
                return
            due = step.then

    def run(self, schedule: Doc, id_: str, due: int, *, by: str = "clock") -> Doc:
        """The run of this id, ended: the batch is made, or it was refused, now or before."""
        store = self.stores.schedules
        row = store.begin_run(id_, schedule, due, by=by, kept_s=self._kept_s(schedule))
        if row["state"] != STARTING:
            return row
        batch, error = self._batch(schedule, id_, due)
        state = STARTED if error is None else REFUSED
        batch_id = None if batch is None else str(batch["_id"])
        if store.end_run(id_, state, batch_id=batch_id, error=error):
            OBSERVED.count(metrics.SCHEDULE_RUNS, state)
            log.info("schedule %s: %s", schedule["_id"], batch_id or (error or {}).get("code"))
        return store.run_of(id_) or row

    def _take(self, schedule: Doc, due: int, step: Step, policy: Policy) -> bool:
        """Take a step; False if it was not, or not all of it, ours to take."""
        id_ = run_id(schedule["_id"], due)
        if isinstance(step, Run):
            return self._ran(schedule, id_, due, step.then)
        row = self.stores.schedules.miss(id_, schedule, step, self._kept_s(schedule))
        if row["state"] != MISSED:
            # Its run was begun in time, by one who died since.
            self._ran(schedule, id_, due, next_due(rhythm_of(schedule), due))
            return False
        return self._missed(schedule, step, policy)

    def _ran(self, schedule: Doc, id_: str, due: int, then: int) -> bool:
        row = self.run(schedule, id_, due)
        return self.stores.schedules.move_on(schedule, due, then, last_run=last_run_of(row))

    def _missed(self, schedule: Doc, step: Missed, policy: Policy) -> bool:
        event = missed_event(schedule, step, policy)
        last = {"due": step.last, "state": MISSED, "batch_id": None}
        moved = self.stores.schedules.move_on(schedule, step.first, step.then, last_run=last, event=event)
        if moved:
            OBSERVED.count(metrics.SCHEDULES_MISSED, by=step.count)
            log.warning("schedule %s: %d due times were missed", schedule["_id"], step.count)
        return moved

    def _end(self, row: Doc) -> None:
        """Go on with a run that somebody began who is gone."""
        schedule = self.stores.schedules.get(row["schedule_id"], row["tenant"])
        if schedule is None:
            gone = {
                "code": "schedule_deleted",
                "message": "The schedule was deleted before its batch was made.",
            }
            self.stores.schedules.end_run(row["_id"], REFUSED, error=gone)
            return
        row = self.run(schedule, row["_id"], row["due"], by=row["by"])
        self.stores.schedules.note_run(schedule["_id"], last_run_of(row))

    def _batch(self, schedule: Doc, id_: str, due: int) -> tuple[Doc | None, Doc | None]:
        """The batch of this run, made unless it is there; or why none may be made now."""
        tenant, form, batches = schedule["tenant"], schedule["batch"], self.stores.batches
        made = batches.by_idempotency_key(tenant, id_)
        if made is None:
            refusal = self._refusal(tenant)
            if refusal is not None:
                return None, refusal
            doc = new_batch(
                form,
                tenant=tenant,
                now_s=time.time(),
                defaults=self.defaults,
                asked_hash=blake3.blake3(id_.encode()).hexdigest(length=16),
                idempotency_key=id_,
            )
            doc["schedule"] = {"id": schedule["_id"], "due": due}
            if schedule["kind"] == "warm":
                doc = made_to_warm(doc, next_due(rhythm_of(schedule), int(doc["created_at"])))
            # A file that was deleted or has expired since still feeds its schedule.
            file = self.stores.files.for_batch(form["input_file_id"], tenant)
            made = write_down(batches, doc, file) or batches.by_idempotency_key(tenant, id_)
        if made is None:
            raise StoreUnavailable(f"the batch of {id_} came and went; it is made at the next tick")
        if not states.is_terminal(made["status"]):
            self._hint(made["_id"])
        return made, None

    def _refusal(self, tenant: str) -> Doc | None:
        use = self.disk_use()
        bounds = self.disk
        if (
            use is not None
            and room_left(use, warn_percent=bounds.warn_percent, stop_percent=bounds.stop_percent)
            is Room.NONE
        ):
            return {"code": INSUFFICIENT_STORAGE, "message": no_room_text(use, bounds.stop_percent)}
        full = refusal_of_queue(self.stores.backlog, tenant)
        return None if full is None else {"code": QUEUED_ITEMS, "message": full}

    def _hint(self, batch_id: str) -> None:
        # A broker that hangs would cost each run its time-out, until the last ones count as missed.
        if self.broker.away:
            return
        asked_at = self.broker.now()
        try:
            self.queue.publish_plan(batch_id)
        except StoreUnavailable as error:
            self.broker.lost(error, asked_at)
        else:
            self.broker.found()

    def _kept_s(self, schedule: Doc) -> float:
        return self.stores.batches.retention_s(schedule["tenant"])


def _each(step: str, found: Iterator[Doc], act: Callable[[Doc], object], until: float) -> None:
    """Act on one after the other, some at a time, until then (monotonic seconds)."""

    def one(doc: Doc) -> None:
        if time.monotonic() < until:
            safely(step, doc["_id"], lambda _: act(doc))

    with ThreadPoolExecutor(TOGETHER, "schedules") as several:
        while time.monotonic() < until and (some := list(islice(found, AT_ONCE))):
            list(several.map(one, some))


def firing_of(
    settings: Settings, stores: Stores, queue: Queue, disk_use: Callable[[], DiskUse | None]
) -> Firing:
    """What fires, as these settings have it."""
    defaults = Defaults(cache=settings.cache.enabled, invalid_lines=settings.batch.invalid_lines)
    return Firing(stores, queue, defaults, settings.schedules.missed, disk_use, settings.disk)


def last_run_of(row: Doc) -> Doc:
    """What a schedule says of its last run."""
    return {name: row[name] for name in ("due", "state", "batch_id")}

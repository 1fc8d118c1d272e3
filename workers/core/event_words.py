"""What each event means, in a sentence; docs/reference/events.md is made of it, and a test finds what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, str]] = {
    "batch.created": "The batch was made; always number 0 of its log.",
    "batch.in_progress": "Its input file is checked; every item is accepted.",
    "batch.progress": "How far it is; sent between entries at most once a second, without a number.",
    "batch.paused": "It rests; `reason` is user, budget or tenant_budget.",
    "batch.resumed": "It goes on.",
    "batch.finalizing": "Every item is recorded; the files are being closed.",
    "batch.cancelling": "A cancel was asked for; what runs ends first.",
    "batch.completed": "It has ended; output and error file are there.",
    "batch.failed": "Its input file was refused; `errors` names the lines.",
    "batch.expired": "Its completion window ended; what is recorded stays.",
    "batch.cancelled": "It has ended by a cancel; what is recorded stays.",
    "batch.budget_warning": "80 % of its ceiling is spent.",
    "batch.budget_reached": "It rests at its ceiling.",
    "log.gap": "Entries that the log no longer keeps, by their numbers.",
    "tenant.budget_warning": "80 % of the tenant's ceiling for the month is spent.",
    "tenant.budget_reached": "The tenant's batches rest at its ceiling for the month.",
    "alert.firing": "An alert rule of the installation fires; `data` has value, threshold and what to do.",
    "schedule.missed": "Due times of a schedule passed while nothing ran; `data` has the first, the last, how many.",
    "alert.resolved": "It has been good again for as long as it must be bad to fire.",
}
# What a batch's log holds, or its streams say.
LOGGED: Final = frozenset(name for name in MEANINGS if name.startswith(("batch.", "log.")))

"""Named moments between two steps at which a process may die, so that tests can let it die exactly there.

`passes` does nothing, here and in production. A test puts its own function in its place before anything runs; callers
therefore reach it through the module: `faultpoints.passes(faultpoints.CLAIMED)`.
"""

from __future__ import annotations

from typing import Final

# A shard in a worker, in this order.
BEFORE_CLAIM: Final = "before-claim"
CLAIMED: Final = "claimed"
CALLING: Final = "calling"
ANSWERED: Final = "answered"
RECORDED: Final = "recorded"
SHARD_RECORDED: Final = "shard-recorded"
SHARD_DONE: Final = "shard-done"
# An upload and a create in the API.
UPLOAD_BLOCK: Final = "upload-block"
BATCH_WRITTEN: Final = "batch-written"
# The sweeper: an event stands in the outbox and still in its batch; a part of an expired batch is removed.
EVENTS_COPIED: Final = "events-copied"
PART_REMOVED: Final = "part-removed"

POINTS: Final = (
    BEFORE_CLAIM,
    CLAIMED,
    CALLING,
    ANSWERED,
    RECORDED,
    SHARD_RECORDED,
    SHARD_DONE,
    UPLOAD_BLOCK,
    BATCH_WRITTEN,
    EVENTS_COPIED,
    PART_REMOVED,
)


def passes(point: str, about: object = None) -> None:
    """The process passes this point.

    Args:
        about: what is at hand there (a shard's id, a call's body), for a test to choose by.
    """

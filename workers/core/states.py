"""The states of a batch and of a shard, and every legal move between them, as tables.

The store has one function per move, each a conditional write of one document whose filter is
`move.sources` and whose new state is `move.target`; nothing else writes a `status` field.

    batch: validating -> in_progress -> finalizing -> completed; validating -> failed;
           validating | in_progress -> cancelling -> cancelled; in_progress -> expired
    shard: queued -> dispatched -> leased -> done | closed; leased -> queued (parked, released, expired);
           dispatched -> queued (recalled, taken back, held back by a pause)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar


class BatchStatus(StrEnum):
    """What the Batch API shows; a batch never goes back to an earlier one."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class ShardStatus(StrEnum):
    """`done`: every item answered or moved. `closed`: ended early, the missing items have closing rows."""

    QUEUED = "queued"
    DISPATCHED = "dispatched"
    LEASED = "leased"
    DONE = "done"
    CLOSED = "closed"


class Ending(StrEnum):
    """Why a batch stops taking calls; set once, on null, before any shard is touched."""

    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Move(Generic[S]):
    """One legal move: from any of `sources` to `target`."""

    name: str
    sources: tuple[S, ...]
    target: S

    def filter(self) -> dict[str, list[str]]:
        """The condition on `status` that a store's write must carry."""
        return {"$in": [str(source) for source in self.sources]}


_B, _S = BatchStatus, ShardStatus

START = Move("start", (_B.VALIDATING,), _B.IN_PROGRESS)
FAIL = Move("fail", (_B.VALIDATING,), _B.FAILED)
CANCEL = Move("cancel", (_B.VALIDATING, _B.IN_PROGRESS), _B.CANCELLING)
FINALIZE = Move("finalize", (_B.IN_PROGRESS,), _B.FINALIZING)
COMPLETE = Move("complete", (_B.FINALIZING,), _B.COMPLETED)
END_CANCELLED = Move("end_cancelled", (_B.CANCELLING,), _B.CANCELLED)
END_EXPIRED = Move("end_expired", (_B.IN_PROGRESS,), _B.EXPIRED)
BATCH_MOVES = (START, FAIL, CANCEL, FINALIZE, COMPLETE, END_CANCELLED, END_EXPIRED)

DISPATCH = Move("dispatch", (_S.QUEUED,), _S.DISPATCHED)
RECALL = Move("recall", (_S.DISPATCHED,), _S.QUEUED)
TAKE_BACK = Move("take_back", (_S.DISPATCHED,), _S.QUEUED)
CLAIM = Move("claim", (_S.QUEUED, _S.DISPATCHED), _S.LEASED)
RELEASE = Move("release", (_S.LEASED,), _S.QUEUED)
BREAK_OFF = Move("break_off", (_S.LEASED,), _S.QUEUED)
EXPIRE = Move("expire", (_S.LEASED,), _S.QUEUED)
HOLD_BACK = Move("hold_back", (_S.QUEUED, _S.DISPATCHED), _S.QUEUED)
FINISH = Move("finish", (_S.LEASED,), _S.DONE)
CLOSE = Move("close", (_S.QUEUED, _S.DISPATCHED, _S.LEASED), _S.CLOSED)
SHARD_MOVES = (DISPATCH, RECALL, TAKE_BACK, CLAIM, RELEASE, BREAK_OFF, EXPIRE, HOLD_BACK, FINISH, CLOSE)

TERMINAL_BATCH = (_B.COMPLETED, _B.FAILED, _B.EXPIRED, _B.CANCELLED)
ENDED_SHARD = (_S.DONE, _S.CLOSED)

CLOSING_CODES = {Ending.CANCELLED: "batch_cancelled", Ending.EXPIRED: "batch_expired"}
CLOSING_MESSAGES = {
    Ending.CANCELLED: "This request was not executed because the batch was cancelled.",
    Ending.EXPIRED: "This request could not be executed before the completion window expired.",
}


def is_terminal(status: str) -> bool:
    """Whether a batch in this state will never change again."""
    return status in TERMINAL_BATCH


def can_cancel(status: str) -> bool:
    """Whether a cancel does something or is already done; every other state answers 409."""
    return status in (*CANCEL.sources, _B.CANCELLING, _B.CANCELLED)

"""What somebody who stops a run learns: what is kept, how it goes on, and what goes on without him.

run.py and tables_run.py wrap their work in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.cli import words
from app.cli.follow import Followed


@contextmanager
def telling_how_to_go_on(
    watched: Sequence[Followed],
    what: str | None = None,
    total: int | None = None,
    *,
    stays: bool,
    sampled: bool,
) -> Iterator[None]:
    """Whoever stops us learns what becomes of the batches that are on their way.

    Args:
        what: what they are together; total: its items, where not all of them are in a batch yet.
        stays: the server is not ours to stop, so it goes on with them.
        sampled: a sample comes first.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for line in stopped_lines(watched, what, total, stays=stays, sampled=sampled):
            print(line, file=sys.stderr, flush=True)
        raise


def stopped_lines(
    watched: Sequence[Followed], what: str | None, total: int | None, *, stays: bool, sampled: bool = False
) -> Iterator[str]:
    """The words of it."""
    if sampled and not watched:
        yield "stopped at the sample; the same command goes on with it"
        return
    done = sum(each.batch.done for each in watched)
    total = total or sum(each.batch.total for each in watched)
    what = what or ("the batch" if len(watched) == 1 else f"the {len(watched)} batches")
    text = f"stopped; the same command goes on with {what}" if watched else "stopped before anything was sent"
    kept = f": {words.count(done)} of {words.count(total)} results are kept" if total else ""
    yield text + kept
    # Calls that nobody waits for cost as much as others.
    for each in watched if stays else ():
        if not each.batch.ended and not each.batch.at_ceiling:
            yield f"the server works on meanwhile; `batchwright cancel {each.batch.id}` ends that"

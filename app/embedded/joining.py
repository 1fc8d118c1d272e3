"""Use the stack that runs on a data directory, or start one: what `batchwright run` begins with.

Two runs may begin at the same moment: one then owns the stack, the other waits until it is ready and uses it.
"""

from collections.abc import Callable
from pathlib import Path

from app.embedded.clients import Attached, attach
from app.embedded.errors import DirectoryInUse
from app.embedded.stack import Stack
from app.embedded.state import Say, silent

# Each round ends with a stack of our own, with one of another's, or with that one gone again.
_MOST_ROUNDS = 5


def attach_or_start(
    data_dir: Path, make: Callable[[], Stack], on_progress: Say = silent, on_wait: Say = silent
) -> Attached | Stack:
    """The running stack, attached to, or a new one, started; the caller releases the one or stops the other.

    Args:
        make: makes a stack on `data_dir`, not yet started.
        on_progress: gets the steps of a start of our own; on_wait: that another's start or stop is waited for.
    Raises: StackError.
    """
    for last in (False,) * (_MOST_ROUNDS - 1) + (True,):
        attached = attach(data_dir, on_wait=on_wait)
        if attached is not None:
            return attached
        stack = make()
        try:
            stack.start(on_progress)
            return stack
        except DirectoryInUse:
            if last:
                raise
    raise AssertionError("the last round returns or raises")

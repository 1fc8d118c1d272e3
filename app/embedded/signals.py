"""Hear the signals that ask this process to end, without being thrown out of what must be finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Windows has no SIGHUP, and must get as far as the message that says what to do there.
ENDING = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def heeded() -> list[signal.Signals]:
    """What asks a stack to end: under nohup, which ignores the closing of the terminal, without that."""
    return [each for each in ENDING if each.name != "SIGHUP" or signal.getsignal(each) is not signal.SIG_IGN]


@contextmanager
def endings_heard(on_signal: Callable[[], None]) -> Iterator[None]:
    """Until the block ends, what asks to end calls `on_signal` and raises nothing; what is ignored stays so.

    Handlers belong to the main thread; in another one nothing is changed, and no signal interrupts it.

    Args:
        on_signal: called between any two steps of the block, also of itself: it must not take a lock.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    replaced = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, lambda *_: on_signal())
    try:
        yield
    finally:
        for number, old in replaced.items():
            signal.signal(number, old)

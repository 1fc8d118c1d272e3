"""Keys of a terminal one by one, without Enter, and the terminal as it was when the block ends.

Ctrl-Z is a key like others here: who hears it ends the block, calls `suspend`, and begins a new block when the shell
has let this process go on. A stop in the middle would leave the shell another screen, and come back deaf to keys.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from types import TracebackType
from typing import Any, Self

# What terminals send for these; xterm's and the older names.
_NAMES = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[1~": "home",
    b"\x1b[F": "end",
    b"\x1b[4~": "end",
}
CTRL_Z = "\x1a"


class Keys:
    """`wait` for a key, or for a byte in `wake`, a file descriptor that another thread writes to.

    Where stdin is no terminal, or the system has no termios, no key ever comes.
    """

    def __init__(self, wake: int) -> None:
        self._wake = wake
        self._fd: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if sys.platform != "win32" and sys.stdin.isatty():
            import termios
            import tty

            self._fd = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
            now = termios.tcgetattr(self._fd)
            now[6][termios.VSUSP] = bytes([os.fpathconf(self._fd, "PC_VDISABLE") & 0xFF])
            termios.tcsetattr(self._fd, termios.TCSANOW, now)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.platform != "win32" and self._fd is not None:
            import termios

            # What was typed and not read must not reach the shell as a command.
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)

    def wait(self, within_s: float) -> list[str]:
        """The keys that were pressed, none if something else woke us or the time is over."""
        heard = [self._wake, *([] if self._fd is None else [self._fd])]
        ready, _, _ = select.select(heard, [], [], within_s)
        if self._wake in ready:
            os.read(self._wake, 4096)
        if self._fd is None or self._fd not in ready:
            return []
        typed = os.read(self._fd, 1024)
        if not typed:  # the terminal has gone
            return ["q"]
        return keys_of(typed)


def suspend() -> None:
    """What the terminal does at Ctrl-Z: the whole job stops here until the shell lets it go on."""
    if sys.platform != "win32":
        os.kill(0, signal.SIGTSTP)


def keys_of(typed: bytes) -> list[str]:
    """What a terminal sent, as names of keys and letters; what is unknown is left out."""
    found, at = [], 0
    while at < len(typed):
        if typed[at : at + 1] == b"\x1b":
            name = next((each for each in _NAMES if typed.startswith(each, at)), None)
            found += [_NAMES[name]] if name else []
            at = _after(typed, at) if name is None else at + len(name)
        else:
            found.append(chr(typed[at]))
            at += 1
    return found


def _after(typed: bytes, at: int) -> int:
    """The end of a sequence that we do not know (ECMA-48: after `ESC [` parameters, up to a byte of 0x40 and over)."""
    if typed[at + 1 : at + 2] not in (b"[", b"O"):
        return at + 1
    end = at + 2
    while end < len(typed) and not 0x40 <= typed[end] <= 0x7E:
        end += 1
    return end + 1

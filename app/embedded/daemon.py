"""Own a stack in the background until SIGTERM: `python -m app.embedded.daemon REPORT_FD OPTIONS_JSON`.

detach.py starts it and listens on the pipe REPORT_FD until the stack is ready; what comes later goes to
logs/stack.log, which is this process's standard output.
"""

import contextlib
import json
import os
import sys
import time
from typing import Any, TextIO

from app.embedded.errors import StackError
from app.embedded.stack import Stack
from config.settings import SettingsError, load_settings


class _Report:
    """Lines to whoever started us, while it listens, and to the log for good."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._pipe: TextIO | None = os.fdopen(descriptor, "w", encoding="utf-8")

    def say(self, line: str) -> None:
        _log(line)
        self._send({"progress": line})

    def close_with(self, message: dict[str, Any]) -> None:
        self._send(message)
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe.close()
            self._pipe = None

    def _send(self, message: dict[str, Any]) -> None:
        if self._pipe is not None:
            # The listener may be gone: that ends the listening, never the stack.
            with contextlib.suppress(OSError, ValueError):
                print(json.dumps(message), file=self._pipe, flush=True)


def _log(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    report = _Report(int(arguments[0]))
    options = json.loads(arguments[1])
    try:
        stack = Stack(load_settings(), kind="up", **options)
        stack.stop_on_signals()
        state = stack.start(report.say)
    except (StackError, SettingsError) as error:
        _log(str(error))
        parts = (error.message, error.hint) if isinstance(error, StackError) else (str(error), "")
        report.close_with({"error": parts[0], "hint": parts[1]})
        return 1
    except KeyboardInterrupt:
        report.close_with({"error": "the start of the stack was broken off", "hint": ""})
        return 130
    report.close_with({"ready": state.as_dict()})
    stack.wait()
    given_up = stack.given_up
    if given_up:
        report.say(f"stopping, since these processes cannot live: {', '.join(given_up)}")
    stack.stop(report.say)
    report.say("stopped")
    return 1 if given_up else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

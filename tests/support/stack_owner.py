"""Own a stack of fakes until killed: `python stack_owner.py DATA_DIR`. Says "ready" on a line of its own.

Tests kill it in ways no owner can answer, and look what is left.
"""

import sys
from pathlib import Path

from app.embedded.stack import Stack
from config.settings import load_settings
from tests.support.fake_commands import FakeCommands


def main(data_dir: str) -> None:
    settings = load_settings(
        {"BATCHWRIGHT_DATA_DIR": data_dir, "BATCHWRIGHT_API_PORT": "0"}, dotenv=Path("/dev/null")
    )
    stack = Stack(settings, workers=1, simulator=True, flower=False, kind="up", commands=FakeCommands())
    stack.stop_on_signals()
    stack.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    stack.wait()
    stack.stop()


if __name__ == "__main__":
    main(sys.argv[1])

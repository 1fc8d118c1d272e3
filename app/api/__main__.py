"""`python -m app.api --host H --port P`: load the settings, serve until stopped.

Environment beside the settings: BATCHWRIGHT_READY_FILE is touched once the API answers, and the key in
BATCHWRIGHT_BOOTSTRAP_KEY_FILE (made if there is none) acts for the first tenant.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.api.server import serve
from config.settings import Settings, SettingsError, load_settings
from workers.core.errors import UserError
from workers.store.mongo import MONGO_DOWN

READY_FILE = "BATCHWRIGHT_READY_FILE"
KEY_FILE = "BATCHWRIGHT_BOOTSTRAP_KEY_FILE"
# Whoever starts us says these two; as settings they would be unknown names, which are refused.
_NOT_SETTINGS = (READY_FILE, KEY_FILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until stopped. Returns the exit code: 0 stopped as asked, 2 could not start."""
    try:
        settings = load_settings(
            {name: value for name, value in os.environ.items() if name not in _NOT_SETTINGS}
        )
        given = _parser(settings).parse_args(arguments)
        logging.basicConfig(
            level=settings.log.level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
        )
        # It repeats every lost connection to MongoDB at debug level, commands with their values included.
        logging.getLogger("pymongo").setLevel(logging.WARNING)
        # What it warns of is the sender's fault, who is told by a 400.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        serve(
            settings,
            host=given.host,
            port=given.port,
            key_file=_path(KEY_FILE),
            ready_file=_path(READY_FILE),
        )
    except SettingsError as error:
        return _cannot(str(error))
    except UserError as error:
        return _cannot(f"{error.message}; {error.hint}" if error.hint else error.message)
    except MONGO_DOWN as error:
        why = str(error).partition(", Topology")[0]
        return _cannot(f"MongoDB does not answer: {why}; check BATCHWRIGHT_MONGODB_URL")
    return 0


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.api", description="Batchwright's HTTP API.")
    parser.add_argument("--host", default=settings.api.host)
    parser.add_argument("--port", type=int, default=settings.api.port, help="0 takes a free one")
    return parser


def _path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def _cannot(message: str) -> int:
    sys.stderr.write(f"api: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())

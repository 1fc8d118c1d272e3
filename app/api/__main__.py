"""`python -m app.api --host H --port P`: load the settings, serve until stopped.

The key in `--key-file` (made if there is none) and the one that the setting `api.bootstrap_key` gives act for the
first tenant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.api.server import serve
from config.settings import Settings, SettingsError, load_settings
from workers.core.errors import UserError
from workers.store.mongo import MONGO_DOWN
from workers.telemetry import log_by


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until stopped. Returns the exit code: 0 stopped as asked, 2 could not start."""
    try:
        settings = load_settings()
        given = _parser(settings).parse_args(arguments)
        log_by(settings)
        serve(
            settings,
            host=given.host,
            port=given.port,
            key_file=given.key_file,
            ready_file=settings.ready_file,
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
    parser.add_argument("--key-file", type=Path, help="holds an API key of the first tenant; made if missing")
    return parser


def _cannot(message: str) -> int:
    sys.stderr.write(f"api: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())

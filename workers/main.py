"""Start one worker process: `python -m workers.main --name worker-1`.

Threads pool, no mingle, no gossip: workers learn of each other through MongoDB. The queues are `plan`, `schedules` and
those of the providers that the setting `worker.providers` leaves it, by default of all.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

from config.settings import SettingsError, load_settings
from workers.transport.choice import transport_name


def main() -> None:
    """Run until SIGTERM; then drain and end. Celery exits the process itself."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.main", description="One Batchwright worker process."
    )
    parser.add_argument("--name", default="worker-1", help="shown in Flower and in `batchwright ps`")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="where its CPU time goes, kept up to date"
    )
    given = parser.parse_args()
    try:
        settings = load_settings()
        # A client that cannot be had is said in one line, not by a traceback.
        transport_name(settings.http.transport)
    except SettingsError as error:
        sys.exit(str(error))

    from workers.celery_app import (
        app,
        stop,
    )  # loads everything, so only once the settings are known to be right

    if given.profile:
        from workers.profiling import Sampler

        Sampler(given.profile).start()
    try:
        # fmt: off
        app.worker_main([
            "--quiet", "worker", "--pool", "threads", "--concurrency", str(settings.worker.threads),
            "--without-mingle", "--without-gossip", "--task-events",
            "--hostname", f"{given.name}@{socket.gethostname()}",
            "--loglevel", settings.log.level,
        ])
        # fmt: on
    finally:
        stop()  # after a second Ctrl-C Celery ends without a word


if __name__ == "__main__":
    main()

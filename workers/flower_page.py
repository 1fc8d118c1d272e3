"""Start Flower, the page that shows workers and tasks: `python -m workers.flower_page`. docs/flower.md reads it.

Flower can stop workers, and any web page that a user visits can send requests to a loopback port: without a password
it does not start. Its `/metrics` and `/healthcheck` ask nobody who comes; here they do, except on loopback.
"""

from __future__ import annotations

import argparse
import re
import sys
from copy import copy
from ipaddress import ip_address
from typing import Any

from config.settings import Settings, SettingsError, load_settings
from workers.core.errors import UserError

# Flower forgets a worker that has been silent for so long; a container's name never comes back.
_FORGET_WORKERS_S = 300
_COLUMNS = "name,args,state,result,received,runtime,worker"
_SHARD = re.compile(r"\('(?P<batch>[^'.]+)\.(?P<number>[^']+)',\)")
_OPEN = ("/metrics", "/healthcheck")


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.flower_page", description="Flower over Batchwright's broker, with a password."
    )
    parser.add_argument("--host", help="address to listen on; default: the setting flower.host")
    parser.add_argument("--port", type=int, help="default: the setting flower.port")
    given = parser.parse_args()
    try:
        settings = load_settings()
        options = flower_options(settings, host=given.host, port=given.port)
    except SettingsError as error:
        sys.exit(str(error))
    except UserError as error:
        sys.exit(f"{error.message}; {error.hint}")

    from flower.urls import handlers
    from tornado.options import options as flowers_own

    from workers.celery_app import app  # connects to nothing yet
    from workers.telemetry import log_by

    log_by(settings)
    handlers[:] = [_guarded(each) for each in handlers]
    flowers_own.format_task = readable
    app.start(["--quiet", "flower", *options])


def flower_options(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[str]:
    """What Flower is told, as it takes it on its command line; the process's own shows none of it.

    Raises: UserError where there is no password.
    """
    flower = settings.flower
    if flower.password is None or not flower.password.reveal():
        raise UserError(
            "Flower does not start without a password",
            hint="set BATCHWRIGHT_FLOWER_PASSWORD, or BATCHWRIGHT_FLOWER_PASSWORD_FILE to a file that holds it",
        )
    return [
        "--conf=/dev/null",  # by itself it would run a flowerconfig.py that lies where it is started
        f"--address={host if host is not None else flower.host}",
        f"--port={flower.port if port is None else port}",
        f"--basic_auth={flower.user}:{flower.password.reveal()}",
        f"--max_tasks={flower.max_tasks}",
        f"--purge_offline_workers={_FORGET_WORKERS_S}",
        f"--tasks_columns={_COLUMNS}",
    ]


def readable(task: Any) -> Any:
    """A task as the pages show it: what tells shards of a batch apart comes first, since a column is narrow.

    Flower hands in a copy of a task, or in lists its id with the task itself.
    """
    if isinstance(task, tuple):
        return task[0], readable(copy(task[1]))
    shard = _SHARD.fullmatch(str(task.args))
    if shard:
        task.args = f"{shard['number']} of {shard['batch']}"
    return task


def _guarded(handler: Any) -> Any:
    """The same route; where Flower leaves it open, it is so for this machine alone."""
    if not isinstance(handler, tuple) or handler[0] not in _OPEN:
        return handler

    from tornado.web import HTTPError

    class Guarded(handler[1]):  # type: ignore[misc]
        """Asks for the password whoever comes from elsewhere."""

        def prepare(self) -> None:
            if not ip_address(self.request.remote_ip).is_loopback and not self.current_user:
                raise HTTPError(401)

    return (handler[0], Guarded)


if __name__ == "__main__":
    main()

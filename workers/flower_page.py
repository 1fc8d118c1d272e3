"""Start Flower, the page that shows workers and tasks: `python -m workers.flower_page`. docs/flower.md reads it.

Flower can stop workers, and any web page that a user visits can send requests to a loopback port: without a password
it does not start. Its `/metrics` and `/healthcheck` ask nobody who comes; here they do, except on loopback.

Of Flower's own environment (`FLOWER_...`) only what changes nothing about who may come is left to it: anything else
would win over what is said here, and Kubernetes sets FLOWER_PORT to an address for a service of that name.
"""

from __future__ import annotations

import argparse
import hmac
import os
import re
import signal
import sys
from base64 import b64decode
from collections.abc import Callable, MutableMapping
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
_LEFT_TO_FLOWER = frozenset(
    {"FLOWER_URL_PREFIX", "FLOWER_READ_ONLY", "FLOWER_NATURAL_TIME", "FLOWER_AUTO_REFRESH"}
)
# A proxy on this machine says so whom it asks for.
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip")


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
        wanted = credentials(settings)
    except SettingsError as error:
        sys.exit(str(error))
    except UserError as error:
        sys.exit(f"{error.message}; {error.hint}")

    ignore_flowers_own(os.environ)
    from flower.options import options as flowers_own
    from flower.urls import handlers
    from flower.views import BaseHandler

    from workers.celery_app import app  # connects to nothing yet
    from workers.telemetry import log_by

    log_by(settings)
    handlers[:] = [_guarded(each) for each in handlers]
    flowers_own.format_task = readable
    # On its command line a comma would make two passwords of one; to credentials that are not ASCII it answers 500.
    flowers_own.basic_auth = [wanted]
    BaseHandler.get_current_user = _asks_for(wanted)
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # whoever has all processes read their settings anew ends no Flower
    app.start(["--quiet", "flower", *flower_options(settings, host=given.host, port=given.port)])


def ignore_flowers_own(environ: MutableMapping[str, str]) -> None:
    """Take out what Flower would read of its own accord."""
    for name in [each for each in environ if each.startswith("FLOWER_") and each not in _LEFT_TO_FLOWER]:
        del environ[name]


def credentials(settings: Settings) -> str:
    """`USER:PASSWORD` of whoever may see Flower. Raises UserError where there is no password."""
    flower = settings.flower
    if flower.password is None or not flower.password.reveal():
        raise UserError(
            "Flower does not start without a password",
            hint="set BATCHWRIGHT_FLOWER_PASSWORD, or BATCHWRIGHT_FLOWER_PASSWORD_FILE to a file that holds it",
        )
    return f"{flower.user}:{flower.password.reveal()}"


def is_let_in(authorization: str, wanted: str) -> bool:
    """Whether a header `Authorization` carries these credentials (RFC 7617, in UTF-8). Pure."""
    scheme, _, given = authorization.partition(" ")
    try:
        said = b64decode(given.strip(), validate=True)
    except ValueError:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(said, wanted.encode())


def flower_options(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[str]:
    """What Flower is told, as it takes it on its command line; the password is not among it."""
    flower = settings.flower
    return [
        "--conf=/dev/null",  # by itself it would run a flowerconfig.py that lies where it is started
        f"--address={host if host is not None else flower.host}",
        f"--port={flower.port if port is None else port}",
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


def _asks_for(wanted: str) -> Callable[[Any], bool]:
    """Flower's question who comes, on every page of its own and its API's."""
    from tornado.web import HTTPError

    def get_current_user(handler: Any) -> bool:
        if not is_let_in(handler.request.headers.get("Authorization", ""), wanted):
            raise HTTPError(401)
        return True

    return get_current_user


def _guarded(handler: Any) -> Any:
    """The same route; where Flower leaves it open, it is so for this machine alone."""
    if not isinstance(handler, tuple) or handler[0] not in _OPEN:
        return handler

    from tornado.web import HTTPError

    class Guarded(handler[1]):  # type: ignore[misc]
        """Asks for the password whoever comes from elsewhere."""

        def prepare(self) -> None:
            asked = self.request
            is_local = ip_address(asked.remote_ip).is_loopback and not any(
                name in asked.headers for name in _PROXIED
            )
            if not is_local and not self.current_user:
                raise HTTPError(401)

    return (handler[0], Guarded)


if __name__ == "__main__":
    main()

"""Keep one set of test servers as long as any test process uses it: `server_keeper.py DIRECTORY REPORT_FD`.

servers.py starts it and holds a shared lock on DIRECTORY/users.lock; so does every other test process. The
keeper asks for that lock alone, gets it when the last one has ended, in whatever way, and stops the servers.
It is a process of its own, for the test process that comes first may well end first.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.embedded import files, servers
from app.embedded.errors import StackError
from app.embedded.ports import PortClaims
from app.embedded.servers import Started
from app.embedded.supervisor import Supervisor

DATABASES = 64  # one for each test process


def main(directory: Path, report_fd: int) -> int:
    with os.fdopen(report_fd, "w", encoding="utf-8") as report:
        files.prepare(directory)
        supervisor = Supervisor(directory / "logs", on_change=lambda: None, on_event=log_line)
        try:
            urls = _start(supervisor, directory)
        except StackError as error:
            supervisor.stop_all()
            report.write(json.dumps({"error": str(error)}))
            return 1
        files.write_private(directory / "urls.json", json.dumps({"pid": os.getpid(), **urls}))
        report.write(json.dumps(urls))
    users = files.FileLock(directory / "users.lock")
    while not users.acquire(limit_s=3600.0):
        pass
    (directory / "urls.json").unlink(missing_ok=True)
    hurry = threading.Event()
    hurry.set()
    supervisor.stop_all(hurry)
    return 0


def log_line(line: str) -> None:
    sys.stderr.write(line + "\n")


def _start(supervisor: Supervisor, directory: Path) -> dict[str, str]:
    ports = PortClaims()
    started: dict[str, Started] = {}

    def keep(name: str, start: Callable[[threading.Event], Started], cancel: threading.Event) -> None:
        started[name] = start(cancel)

    starts = {
        "mongodb_url": servers.start_mongod(supervisor, directory, ports),
        "redis_url": servers.start_control_redis(supervisor, directory, ports, databases=DATABASES),
        "cache_redis_url": servers.start_cache_redis(supervisor, directory, ports, databases=DATABASES),
    }
    supervisor.start_all([partial(keep, name, start) for name, start in starts.items()])
    return {name: server.url for name, server in started.items()}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))

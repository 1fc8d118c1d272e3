"""Keep one set of test servers as long as any test process uses it: `server_keeper.py DIRECTORY REPORT_FD`.

servers.py starts it and holds a shared lock on DIRECTORY/users.lock; so does every other test process. The
keeper asks for that lock alone, gets it when the last one has ended, in whatever way, and stops the servers.
It is a process of its own, for the test process that comes first may well end first.

What the servers write lies in memory where there is room for it: a write to a journal need not wait for a disk then.
Logs, locks and URLs are in DIRECTORY all the same.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from app.embedded import files, servers
from app.embedded.errors import StackError
from app.embedded.ports import PortClaims
from app.embedded.servers import Started
from app.embedded.supervisor import Supervisor

DATABASES = 64  # one for each test process
_MEMORY = Path("/dev/shm")
# Several times what the suite writes; a container often has 64 MB of it.
_ROOM_BYTES = 2 << 30


def main(directory: Path, report_fd: int) -> int:
    with _data_of(directory) as data:
        return _keep(directory, data, report_fd)


def _keep(directory: Path, data: Path, report_fd: int) -> int:
    with os.fdopen(report_fd, "w", encoding="utf-8") as report:
        for each in {directory, data}:
            files.prepare(each)
        supervisor = Supervisor(directory / "logs", on_change=lambda: None, on_event=log_line)
        try:
            urls = _start(supervisor, data)
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


@contextmanager
def _data_of(directory: Path) -> Iterator[Path]:
    """Where the servers keep what they hold; what lies in memory goes with them."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        yield directory
        return
    data = Path(tempfile.mkdtemp(prefix="batchwright-tests-", dir=_MEMORY))
    try:
        yield data
    finally:
        shutil.rmtree(data, ignore_errors=True)


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

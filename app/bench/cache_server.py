"""The cache Redis that cached answers are measured with: the configured one, the running stack's, else one for now."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.embedded import files, servers
from app.embedded.ports import PortClaims
from app.embedded.state import read_state
from app.embedded.supervisor import Supervisor
from config.settings import Settings


@contextmanager
def cache_server(settings: Settings) -> Iterator[str]:
    """Its URL. Raises StackError when one has to be started and cannot be."""
    if settings.servers.cache_redis_url is not None:
        yield settings.servers.cache_redis_url
        return
    running = read_state(settings.data_dir)
    if running is not None:
        yield running.cache_redis_url
        return
    directory = Path(tempfile.mkdtemp(prefix="batchwright-bench-"))
    supervisor = Supervisor(directory / "logs", on_change=lambda: None, on_event=lambda _: None)
    try:
        files.prepare(directory)
        start = servers.start_cache_redis(supervisor, directory, PortClaims())
        yield start(threading.Event()).url
    finally:
        supervisor.stop_all()
        shutil.rmtree(directory, ignore_errors=True)

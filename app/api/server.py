"""The API on a socket: Granian inside this one process, on uvloop where there is one.

__main__.py calls `serve`. It returns within about two seconds of SIGTERM or SIGINT, whatever hangs: what is
accepted is in the database by then, and what is not gets no answer, so its sender tries again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from tenacity import before_sleep_log, retry, retry_if_exception_type, stop_after_delay, wait_fixed

from app.api.application import create_app
from app.api.first_start import prepare
from app.api.keeping import Keeping
from app.api.methods import Asgi
from app.api.services import Services, open_services
from app.listening import CannotListen, held_port, until_answering
from config.settings import Settings
from workers.core.errors import UserError
from workers.store.mongo import MONGO_DOWN

SWITCH_S = 0.001
_STOP_WITHIN_S = 1.2
_STREAMS_WITHIN_S = 0.3
_HINTS_WITHIN_S = 0.5
_FIGURES_WITHIN_S = 0.2
_WAIT_FOR_STORE_S = 30.0
_MOST_REQUESTS_AT_ONCE = 1024
log = logging.getLogger("batchwright.api")


def serve(
    settings: Settings, *, host: str, port: int, key_file: Path | None, ready_file: Path | None
) -> None:
    """Serve until SIGTERM or SIGINT. Call it in the main thread; 0 takes a free port.

    Raises: UserError for a taken port or a missing setting, MONGO_DOWN errors if MongoDB does not appear.
    """
    # Store threads decode what MongoDB sends; the loop must not wait 5 ms for the interpreter behind each of them.
    sys.setswitchinterval(SWITCH_S)
    held = _held_port(host, port)
    services = open_services(settings)
    _prepare(services, key_file)
    try:
        import uvloop  # not on every platform; asyncio's own loop serves there

        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        if not runner.run(_serve(services, host, held.getsockname()[1], ready_file)):
            # An open connection, or a thread in a call to a server that is away, would hold up the stop.
            logging.shutdown()
            os._exit(0)
    held.close()


async def _serve(services: Services, host: str, port: int, ready_file: Path | None) -> bool:
    stopping, keeping = asyncio.Event(), Keeping(services)
    server = _server(create_app(services), host, port, services.settings.api.max_streams)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, services.reloaded.soon)
    serving = asyncio.ensure_future(server.serve())
    serving.add_done_callback(lambda _: stopping.set())
    await until_answering(host, port, stopping)
    runs = (
        services.sweeper.run(),
        services.disk.watch(),
        services.dependencies.watch(),
        services.reloaded.watch(),
        services.notices.notifier.run(),
        services.own.run(),
        keeping.keep(),
        keeping.look_after(),
    )
    beside = [asyncio.ensure_future(each) for each in runs]
    gc.freeze()  # what is loaded stays: the collector need not walk it on every pass
    if not stopping.is_set():
        log.info("listening on http://%s:%d", host, port)
        if ready_file is not None:
            await asyncio.to_thread(ready_file.touch)
    await stopping.wait()
    services.stopping.set()
    # A WebSocket that has said goodbye is no broken connection to its client.
    with suppress(TimeoutError):
        await asyncio.wait_for(services.streams_ended.wait(), _STREAMS_WITHIN_S)
    for task in beside:
        task.cancel()
    if not serving.done():
        server.stop()
    ended, _ = await asyncio.wait({serving}, timeout=_STOP_WITHIN_S)
    await keeping.end(_FIGURES_WITHIN_S)
    closed = await services.close(_HINTS_WITHIN_S)
    if ended:
        serving.result()  # whatever ended the server by itself must be heard
    return closed and bool(ended)


def _server(app: Asgi, host: str, port: int, streams: int) -> Any:
    # Event streams stay open; as many as there may be must leave room for all other requests.
    at_once = _MOST_REQUESTS_AT_ONCE + streams
    return Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.auto,
        websockets=True,
        backlog=_MOST_REQUESTS_AT_ONCE,
        backpressure=at_once,
        log_enabled=False,
    )


def _prepare(services: Services, key_file: Path | None) -> None:
    """Make what a new database lacks, waiting a while for a MongoDB that starts beside us."""
    waiting = retry(
        retry=retry_if_exception_type(MONGO_DOWN),
        stop=stop_after_delay(_WAIT_FOR_STORE_S),
        wait=wait_fixed(0.5),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    waiting(prepare)(services, key_file)


def _held_port(host: str, port: int) -> socket.socket:
    try:
        return held_port(host, port)
    except CannotListen as error:
        raise UserError(str(error)) from error

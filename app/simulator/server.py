"""The simulator on a socket: HTTP/1.1 and HTTP/2 (prior knowledge) on one port, by Granian's RSGI.

`serve` is the one way in; __main__.py and the command line call it. simulation.py decides, this carries out:
it waits, sends, and writes the call log. A call whose client died is still answered and logged: it was paid.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import orjson
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian._granian import RSGIProtocolClosed, RSGIProtocolError
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP2Settings
from granian.log import LogLevels
from granian.rsgi import Scope
from granian.server.embed import Server

from app.listening import until_answering
from app.simulator.calllog import CallLog, CallRecord
from app.simulator.config import ConfigError, SimulatorConfig
from app.simulator.dialect import JSON, Inbound
from app.simulator.listening import announce, hold_port
from app.simulator.simulation import Plan, Simulation, stopped

_STREAMS_PER_CONNECTION = 256
_GRACE_S = 0.3  # at a stop, for open calls, and then for open connections


_ERRORS_TO_STDERR = {
    "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
    "loggers": {"_granian": {"handlers": ["stderr"], "propagate": False}},
}


class Application:
    """Routes requests, carries plans out, logs calls."""

    def __init__(self, config: SimulatorConfig, log: CallLog, stopping: asyncio.Event) -> None:
        self._config = config
        self._log = log
        self._stopping = stopping
        self._simulation = Simulation(config, instance=os.urandom(6).hex())
        self._sleeping: set[asyncio.Future[bool]] = set()  # one a call that takes its time
        self.failure: OSError | None = None  # why the log could not be written

    async def __call__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """One request, as RSGI hands it over."""
        if scope.path == "/health" and scope.method == "GET":
            shown = {"status": "ok", "service": "simulator", "pid": os.getpid()}
            proto.response_bytes(200, [("content-type", JSON)], orjson.dumps(shown))
            return
        began, arrived = time.monotonic(), time.time()
        try:
            body = await proto()
        except (asyncio.CancelledError, RSGIProtocolClosed, RSGIProtocolError):
            return  # cut off before it arrived whole: no provider would have charged it
        inbound = Inbound(scope.method, scope.path, body, scope.headers, scope.query_string)
        plan = self._simulation.decide(inbound, now=began, unix_s=int(arrived))
        if plan.is_call:
            await self._call(plan, scope.path, began, arrived, proto)
        else:
            await self._send(plan, proto)

    async def _call(self, plan: Plan, path: str, began: float, arrived: float, proto: HTTPProtocol) -> None:
        if plan.hang:
            # Its line must be there while it hangs: tests count calls that never ended.
            self._witness(_record(plan, path, arrived, 0.0))
            await self._hang(proto)
            return
        if plan.delay_s > 0 and not await self._slept(plan.delay_s - (time.monotonic() - began)):
            plan = stopped(plan)
        took_ms = (time.monotonic() - began) * 1000
        # Before the answer, and whether or not the client is still there: it owes the same.
        self._witness(_record(plan, path, arrived, took_ms))
        if plan.dialect.took_header:
            plan.headers.append((plan.dialect.took_header, f"{took_ms:.0f}"))
        await self._send(plan, proto)

    async def _send(self, plan: Plan, proto: HTTPProtocol) -> None:
        if plan.events is None:
            proto.response_bytes(plan.status, plan.headers, plan.body)
        else:
            await self._stream(plan, proto)

    async def _slept(self, delay_s: float) -> bool:
        """Wait; true when the time is over, false when the simulator stops first."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(delay_s, _wake, woken, True)
        self._sleeping.add(woken)
        try:
            return await woken
        finally:
            timer.cancel()
            self._sleeping.discard(woken)

    def _witness(self, record: CallRecord) -> None:
        """Log a call; a log that fails stops the simulator, since tests would count too little."""
        try:
            self._log.write(record)
        except OSError as error:
            self.failure = error
            self._log.close()
            self._stopping.set()

    async def _stream(self, plan: Plan, proto: HTTPProtocol) -> None:
        transport = proto.response_stream(plan.status, plan.headers)
        pause_s = self._config.stream_chunk_ms / 1000
        for event in plan.events or ():
            try:
                await transport.send_bytes(event)
            except (RSGIProtocolClosed, RSGIProtocolError):
                return  # the client has left; what it ordered is in the log already
            if pause_s and not await self._slept(pause_s):
                return

    async def _hang(self, proto: HTTPProtocol) -> None:
        """Until the client gives up, or the simulator stops."""
        gone = asyncio.ensure_future(proto.client_disconnect())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((gone, stopping), return_when=asyncio.FIRST_COMPLETED)
        for each in (gone, stopping):
            each.cancel()
        with suppress(Exception):  # nobody is there any more to be told
            proto.response_empty(503, [])

    async def finish(self, within_s: float) -> None:
        """Let calls that take their time end for a moment, then answer the rest with 503."""
        if self._sleeping:
            await asyncio.wait(self._sleeping, timeout=within_s)
        for woken in tuple(self._sleeping):
            _wake(woken, False)


def _wake(woken: asyncio.Future[bool], in_time: bool) -> None:
    if not woken.done():
        woken.set_result(in_time)


def _record(plan: Plan, endpoint: str, arrived: float, took_ms: float) -> CallRecord:
    return CallRecord(
        time=round(arrived, 6),
        provider=plan.dialect.name,
        model=plan.model,
        prompt_hash=plan.prompt_hash,
        status=plan.status,
        endpoint=endpoint,
        stream=plan.stream,
        duration_ms=round(took_ms, 3),
        request_id=plan.request_id,
        fault=plan.fault,
        prompt_tokens=plan.prompt_tokens,
        completion_tokens=plan.completion_tokens,
        cached_tokens=plan.cached_tokens,
        cache_write_tokens=plan.cache_write_tokens,
    )


def serve(config: SimulatorConfig) -> None:
    """Serve until SIGTERM or SIGINT, then return within a second; all calls are in the log by then.

    Prints one line when it answers. Call it in the main thread.
    Raises: ConfigError for a taken port or a log that cannot be written.
    """
    try:
        import uvloop  # not on every platform; asyncio's own loop serves there

        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(config))


class _Stoppable(Protocol):
    """What we use of Granian's embedded server, whose own methods carry no types."""

    def serve(self) -> Awaitable[None]: ...
    def stop(self) -> None: ...


async def _serve(config: SimulatorConfig) -> None:
    stopping = asyncio.Event()
    try:
        log = CallLog(config.log_path)
    except OSError as error:
        raise ConfigError(f"cannot write the call log {config.log_path}: {error.strerror}") from error
    held = hold_port(config.host, config.port)
    port: int = held.getsockname()[1]
    application = Application(config, log, stopping)
    server = _server(application, config.host, port)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopping.set)
    serving = asyncio.ensure_future(server.serve())
    serving.add_done_callback(lambda _: stopping.set())
    await until_answering(config.host, port, stopping)
    gc.freeze()  # what is loaded stays: the collector need not walk it on every pass
    if not stopping.is_set():
        announce(config, port)
    await stopping.wait()
    await application.finish(_GRACE_S)
    server.stop()
    # Granian waits for every connection; a client that does not read must not keep us.
    await asyncio.wait({serving}, timeout=_GRACE_S)
    log.close()
    held.close()
    if application.failure:
        raise ConfigError(f"cannot write the call log {config.log_path}: {application.failure.strerror}")


def _server(application: Application, host: str, port: int) -> _Stoppable:
    server: Any = Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.auto,
        http2_settings=HTTP2Settings(max_concurrent_streams=_STREAMS_PER_CONNECTION),
        websockets=False,
        backlog=4096,
        backpressure=65_536,
        log_level=LogLevels.error,  # a bug of ours shows on stderr, not only as a bare 500
        log_dictconfig=_ERRORS_TO_STDERR,
    )
    stoppable: _Stoppable = server
    return stoppable

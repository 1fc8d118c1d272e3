"""The simulator's port: taken for good, asked until it answers, announced. server.py calls these in turn."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from contextlib import suppress

import orjson

from app.simulator.config import ConfigError, SimulatorConfig
from app.simulator.models import MODELS


def held_port(host: str, port: int) -> socket.socket:
    """Bind the port and keep it, so that a free one cannot be taken before Granian listens on it.

    Granian binds with SO_REUSEPORT, by which two simulators would share a port in silence: so ask without it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections that just ended linger on the port
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
        return held
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "the port is taken; choose another, or 0 for a free one" if taken else error.strerror
        raise ConfigError(f"cannot listen on {host}:{port}: {why}") from error


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound


async def until_answering(host: str, port: int, stopping: asyncio.Event) -> None:
    """Return when /health answers: ready must mean ready."""
    while not stopping.is_set():
        try:
            reader, writer = await asyncio.open_connection(_reachable(host), port)
            writer.write(b"GET /health HTTP/1.1\r\nhost: simulator\r\nconnection: close\r\n\r\n")
            answer = await reader.readline()
            writer.close()
            if b" 200 " in answer:
                return
        except OSError:
            pass
        await asyncio.sleep(0.01)


def announce(config: SimulatorConfig, port: int) -> None:
    host = _reachable(config.host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    log_path = str(config.log_path) if config.log_path else None
    if config.json_ready:
        ready = {
            "url": url,
            "base_url": f"{url}/v1",
            "pid": os.getpid(),
            "log": log_path,
            "models": list(MODELS),
        }
        line = orjson.dumps(ready).decode()
    else:
        served = "any model" if config.all_models else ", ".join(MODELS)
        line = f"Simulated provider at {url}/v1 ({served}); answers are made up. Ctrl-C stops it."
    with suppress(BrokenPipeError):  # whoever started us may not read
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

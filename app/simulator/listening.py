"""The simulator's port: taken for good, asked until it answers, announced. server.py calls these in turn."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

import orjson

from app import listening
from app.simulator.config import ConfigError, SimulatorConfig
from app.simulator.models import MODELS


def hold_port(host: str, port: int) -> socket.socket:
    """The bound port. Raises ConfigError."""
    try:
        return listening.held_port(host, port)
    except listening.CannotListen as error:
        raise ConfigError(str(error)) from error


def announce(config: SimulatorConfig, port: int) -> None:
    host = listening.reachable(config.host)
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

"""`python -m app.simulator`: flags over a TOML file over defaults, then serve until stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.simulator.config import ConfigError, FaultRate, Latency, SimulatorConfig, read_config_file
from app.simulator.faults import FaultError, parse_fault
from app.simulator.server import serve

# Flags that are a field of the same name; `None` means that the flag was not given.
_PLAIN = (
    "host",
    "port",
    "seed",
    "stream_chunk_ms",
    "cold_start_ms",
    "all_models",
    "api_key",
    "embedding_dimensions",
    "json_ready",
)


def config_from_arguments(arguments: Sequence[str]) -> SimulatorConfig:
    """Settings from a command line.

    Raises: ConfigError for values that cannot be used; SystemExit for flags that do not exist.
    """
    given = _parser().parse_args(arguments)
    config = read_config_file(given.config) if given.config else SimulatorConfig()
    changes: dict[str, Any] = {
        name: getattr(given, name) for name in _PLAIN if getattr(given, name) is not None
    }
    if given.latency_ms is not None:
        changes["latency"] = Latency(ms=given.latency_ms)
    if given.log is not None:
        changes["log_path"] = given.log
    if given.rpm is not None:
        changes["requests_per_minute"] = given.rpm
    if given.tpm is not None:
        changes["tokens_per_minute"] = given.tpm
    if given.fault:
        changes["faults"] = (*config.faults, *(_fault_rate(each) for each in given.fault))
    return replace(config, **changes)


def _fault_rate(text: str) -> FaultRate:
    spec, _, rate = text.rpartition("@")
    try:
        share = float(rate)
        if not (spec and 0 <= share <= 1):
            raise ValueError(text)
    except ValueError as error:
        raise ConfigError(f"--fault is FAULT@RATE, for example status=500@0.01, got {text!r}") from error
    try:
        return FaultRate(parse_fault(spec), share)
    except FaultError as error:
        raise ConfigError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.simulator",
        description="A simulated provider that speaks the APIs of OpenAI, Anthropic, Gemini and Ollama. "
        "Its answers are made up.",
    )
    add = parser.add_argument
    add("--host")
    add("--port", type=int, help="0 picks a free one (default: 8100)")
    add("--latency-ms", type=float, help="time before the first byte of each answer")
    add("--stream-chunk-ms", type=float, help="time between the chunks of a streamed answer")
    add("--cold-start-ms", type=float, help="what loading a model takes")
    add("--log", type=Path, metavar="FILE", help="append one JSON line a call")
    add("--seed", type=int, help="answers, latencies and faults follow from it")
    add("--config", type=Path, metavar="FILE", help="settings as TOML; flags win over it")
    add("--rpm", type=int, help="requests a minute")
    add("--tpm", type=int, help="tokens a minute")
    add("--fault", action="append", metavar="FAULT@RATE", help="for example status=500@0.01; may be repeated")
    add("--all-models", action="store_true", default=None, help="answer to any model name")
    add("--api-key", help="refuse calls without this key")
    add("--embedding-dimensions", type=int)
    add(
        "--json",
        dest="json_ready",
        action="store_true",
        default=None,
        help="announce readiness as a JSON line",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until stopped. Returns the exit code: 0 stopped as asked, 2 could not start or go on."""
    try:
        serve(config_from_arguments(sys.argv[1:] if arguments is None else arguments))
    except ConfigError as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

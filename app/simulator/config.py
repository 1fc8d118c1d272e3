"""What a simulator is told at start: one frozen tree from flags, a TOML file and defaults, in that order.

__main__.py and the command line build it; server.py and simulation.py read it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app.simulator.faults import Fault, FaultError, parse_fault
from app.simulator.vectors import DEFAULT_DIMENSIONS, MAX_DIMENSIONS


class ConfigError(ValueError):
    """A setting that cannot be used; one line naming it, what it was and what is allowed."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a call takes before its first byte, in milliseconds.

    fixed: `ms`. uniform: between `min_ms` and `max_ms`. lognormal: median `ms`, `sigma`, at most `max_ms`.
    """

    kind: str = "fixed"
    ms: float = 0.0
    min_ms: float = 0.0
    max_ms: float = 60_000.0
    sigma: float = 0.5


@dataclass(frozen=True, slots=True)
class FaultRate:
    """A fault that meets this share of all calls."""

    fault: Fault
    rate: float


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """All settings. `port` 0 means a free one; limits of None mean none and no limit headers."""

    host: str = "127.0.0.1"
    port: int = 8100
    seed: int = 0
    latency: Latency = field(default_factory=Latency)
    stream_chunk_ms: float = 0.0
    cold_start_ms: float = 0.0  # what loading a model takes, before its first answer and after its keep_alive
    log_path: Path | None = None
    all_models: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    burst_share: float = 1.0
    faults: tuple[FaultRate, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    embedding_dimensions: int = DEFAULT_DIMENSIONS
    json_ready: bool = False  # announce readiness as a JSON line

    def __post_init__(self) -> None:
        _within("port", self.port, 0, 65_535)
        _within("stream_chunk_ms", self.stream_chunk_ms, 0, 60_000)
        _within("cold_start_ms", self.cold_start_ms, 0, 600_000)
        _within("embedding_dimensions", self.embedding_dimensions, 1, MAX_DIMENSIONS)
        _within("burst_share", self.burst_share, 0.001, 1)
        for name in ("requests_per_minute", "tokens_per_minute"):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 1, 10**12)
        for name in ("ms", "min_ms", "max_ms"):
            _within(f"latency.{name}", getattr(self.latency, name), 0, 3_600_000)
        _within("latency.sigma", self.latency.sigma, 0, 5)
        if self.latency.kind not in ("fixed", "uniform", "lognormal"):
            raise ConfigError(f"latency.kind is one of fixed, uniform, lognormal, got {self.latency.kind!r}")
        if self.latency.kind == "uniform" and self.latency.min_ms > self.latency.max_ms:
            raise ConfigError("latency.min_ms is over latency.max_ms")
        if sum(each.rate for each in self.faults) > 1 + 1e-9:
            raise ConfigError("the rates of all faults add up to more than 1")


def _within(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{name} is a number from {low:g} to {high:g}, got {value!r}")


def read_config_file(path: Path) -> SimulatorConfig:
    """The settings of a TOML file over the defaults.

    Keys are the fields of `SimulatorConfig`, `log` for log_path, a table [latency] and tables [[faults]] with
    `fault` and `rate`.
    Raises: ConfigError for a file that cannot be read or says something unknown.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return config_from(data)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


# What TOML may bring for each plain field; host to json_ready in the order of the class.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "host": (str,),
    "port": (int,),
    "seed": (int,),
    "stream_chunk_ms": (int, float),
    "cold_start_ms": (int, float),
    "all_models": (bool,),
    "requests_per_minute": (int,),
    "tokens_per_minute": (int,),
    "burst_share": (int, float),
    "api_key": (str,),
    "embedding_dimensions": (int,),
    "json_ready": (bool,),
}


def config_from(data: Mapping[str, Any]) -> SimulatorConfig:
    """Settings from parsed TOML.

    Raises: ConfigError naming the key.
    """
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name == "latency":
            values["latency"] = _latency_from(value)
        elif name == "faults":
            values["faults"] = _rates_from(value)
        elif name in ("log", "log_path"):
            values["log_path"] = Path(value) if isinstance(value, str) else _refuse(name, value, "a path")
        elif name in _TYPES:
            wanted = _TYPES[name]
            # A TOML true is an int to Python; as a port it would be 1.
            fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
            values[name] = (
                value if fits else _refuse(name, value, " or ".join(each.__name__ for each in wanted))
            )
        else:
            raise ConfigError(
                f"unknown setting {name!r}; known: {', '.join(sorted([*_TYPES, 'latency', 'faults', 'log']))}"
            )
    return SimulatorConfig(**values)


def _refuse(name: str, value: object, wanted: str) -> Any:
    raise ConfigError(f"{name} is {wanted}, got {value!r}")


def _latency_from(value: object) -> Latency:
    if not isinstance(value, Mapping):
        return Latency(ms=value) if isinstance(value, int | float) else _refuse("latency", value, "a table")
    known = {each.name for each in fields(Latency)}
    unknown = set(value) - known
    if unknown:
        raise ConfigError(f"unknown setting 'latency.{min(unknown)}'; known: {', '.join(sorted(known))}")
    return replace(Latency(), **value)


def _rates_from(value: object) -> tuple[FaultRate, ...]:
    if not isinstance(value, list):
        _refuse("faults", value, "a list of tables")
    return tuple(_rate_from(entry) for entry in value) if isinstance(value, list) else ()


def _rate_from(entry: object) -> FaultRate:
    if (
        not isinstance(entry, Mapping)
        or set(entry) != {"fault", "rate"}
        or not isinstance(entry["fault"], str)
    ):
        raise ConfigError(f'each of faults is {{fault = "...", rate = 0.01}}, got {entry!r}')
    _within("faults.rate", entry["rate"], 0, 1)
    try:
        return FaultRate(parse_fault(entry["fault"]), float(entry["rate"]))
    except FaultError as error:
        raise ConfigError(str(error)) from error

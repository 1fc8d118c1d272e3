"""What a chaos run is like, as data, and how the processes are told: scaled times, proxies, deaths at named moments."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.embedded.commands import OurCommands, Plan, Wiring
from app.embedded.process import ProcessSpec
from tests.chaos.servers import CACHE, CONTROL, MONGOD
from tests.chaos.victim import CONSTANTS, Death


@dataclass(frozen=True)
class Rules:
    """What a run is like. Times are scaled down: production's lease is 60 s, its sweep 5 s.

    Attributes:
        latency_ms: of every answer of the simulator.
        simulator: more flags for it.
        environ: more settings for the processes of ours; `environ_of`: for one of them, by its name.
        via: servers that our processes reach through a proxy only (names of servers.py).
        deaths: when which process dies, by its name.
        members: mongods of the replica set.
        constants: bounds of a worker that no setting scales, such as {"workers.engine.recorder:BUFFER_RESULTS": 40}.
    """

    seed: int
    workers: int = 2
    tenants: Sequence[str] = ("one", "two")
    lease_s: float = 3.0
    sweep_s: float = 0.5
    latency_ms: float = 20.0
    simulator: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    environ_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    via: Sequence[str] = ()
    deaths: Mapping[str, Death] = field(default_factory=dict)
    members: int = 1
    constants: Mapping[str, int] = field(default_factory=dict)
    flower: bool = False
    beat: bool = False

    @property
    def recovery_s(self) -> float:
        """Within which work must go on after a fault (I7)."""
        return self.lease_s + self.sweep_s + 10.0

    def settings(self) -> dict[str, str]:
        """The settings of the processes."""
        return {
            "BATCHWRIGHT_LEASE_S": str(self.lease_s),
            "BATCHWRIGHT_SWEEP_S": str(self.sweep_s),
            "BATCHWRIGHT_DISPATCH_TIMEOUT_S": str(max(2.0, self.lease_s)),
            # Several shards a batch, though a batch is small here.
            "BATCHWRIGHT_SHARD_MAX_ITEMS": "50",
            # How full the disk of this machine is is no part of the run.
            "BATCHWRIGHT_DISK_STOP_PERCENT": "100",
            "BATCHWRIGHT_BATCH_STALE_UPLOAD_S": "2",
            "BATCHWRIGHT_WORKER_DRAIN_GRACE_S": "3",
            "BATCHWRIGHT_LOG_LEVEL": "warning",
            **self.environ,
        }


class ChaosCommands(OurCommands):
    """The stack as it is delivered, with shorter times, proxies in between, and deaths at named moments."""

    def __init__(self, rules: Rules, directory: Path, proxied: Mapping[str, str]) -> None:
        self._rules, self._directory, self._proxied = rules, directory, proxied

    def simulator(self, plan: Plan, port: int) -> ProcessSpec:
        """With a log of its calls."""
        spec, rules = super().simulator(plan, port), self._rules
        told = ("--latency-ms", f"{rules.latency_ms:g}", "--seed", str(rules.seed), *rules.simulator)
        return replace(spec, argv=(*spec.argv, *told, "--log", str(self._directory / "calls.jsonl")))

    def api(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        """See the class."""
        return self._told(super().api(plan, self._rewired(wiring), port))

    def flower(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        """See the class."""
        return self._told(super().flower(plan, self._rewired(wiring), port))

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        """See the class."""
        return [self._told(spec) for spec in super().portless(plan, self._rewired(wiring))]

    def _rewired(self, wiring: Wiring) -> Wiring:
        return replace(
            wiring,
            redis_url=self._proxied.get(CONTROL, wiring.redis_url),
            cache_redis_url=self._proxied.get(CACHE, wiring.cache_redis_url),
            mongodb_url=self._proxied.get(MONGOD, wiring.mongodb_url),
        )

    def _told(self, spec: ProcessSpec) -> ProcessSpec:
        own = self._rules.environ_of.get(spec.name, {})
        env, argv = {**spec.env, **self._rules.settings(), **own}, spec.argv
        death, constants = self._rules.deaths.get(spec.name), self._rules.constants
        if death is not None or (constants and spec.name.startswith("worker")):
            assert argv[:2] == (sys.executable, "-m"), argv
            env |= {**(death.as_environ() if death else {}), CONSTANTS: json.dumps(dict(constants))}
            argv = (sys.executable, "-m", "tests.chaos.victim", *argv[2:])
        return replace(spec, env=env, argv=argv)

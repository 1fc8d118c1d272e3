"""The processes of our own as data: what is run, with which environment, how readiness shows. Pure.

stack.py starts them around the servers; a test hands it other `Commands`. The names here are also those of
the logs and of the lines in `ps`.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.embedded.files import API_KEY_FILE
from app.embedded.ports import PortWish
from app.embedded.probes import HttpAnswers, ReadyFile
from app.embedded.process import ProcessSpec

_READY_LIMIT_S = 45.0
# What a worker may need beyond its grace: the last bulk write, and Celery's own end.
_AFTER_GRACE_S = 8.0
_PACKAGES_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """What a stack should run; all that the commands depend on, besides servers and ports.

    `flower` None: without Flower.
    """

    data_dir: Path
    workers: int
    api: PortWish
    api_host: str = "127.0.0.1"
    flower: PortWish | None = None
    flower_host: str = "127.0.0.1"
    simulator: PortWish | None = None
    all_models: bool = False
    beat: bool = False
    drain_grace_s: float = 25.0


@dataclass(frozen=True)
class Wiring:
    """The servers that run, as every process of ours is told; URLs hold passwords, so none is in a repr.

    `broker_url` None: the control Redis is the broker.
    """

    redis_url: str = field(repr=False)
    cache_redis_url: str = field(repr=False)
    mongodb_url: str = field(repr=False)
    sim_url: str | None = None
    broker_url: str | None = field(default=None, repr=False)
    flower_password: str = field(default="", repr=False)


class Commands(Protocol):
    """What a stack starts besides the servers."""

    def simulator(self, plan: Plan, port: int) -> ProcessSpec: ...

    def api(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec: ...

    def flower(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec: ...

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        """The workers, and beat where the plan has it."""
        ...


class OurCommands:
    """The stack as it is delivered."""

    def simulator(self, plan: Plan, port: int) -> ProcessSpec:
        every_model = ("--all-models",) if plan.all_models else ()
        return ProcessSpec(
            name="sim",
            argv=(sys.executable, "-m", "app.simulator", "--port", str(port), *every_model),
            env=environment(plan, None, "sim"),
            ready=HttpAnswers(f"http://127.0.0.1:{port}/health"),
            ready_limit_s=_READY_LIMIT_S,
            stop_order=3,
        )

    def api(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        listening = (sys.executable, "-m", "app.api", "--host", plan.api_host, "--port", str(port))
        return ProcessSpec(
            name="api",
            # The stack's key beside the one that a person may have set: both are let in.
            argv=(*listening, "--key-file", str(plan.data_dir / API_KEY_FILE)),
            env=environment(plan, wiring, "api"),
            ready=HttpAnswers(f"http://{local_address(plan.api_host)}:{port}/health"),
            ready_limit_s=_READY_LIMIT_S,
            stop_order=2,
            stop_limit_s=10.0,
            remove_first=(ready_path(plan, "api"),),
        )

    def flower(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        listening = ("--host", plan.flower_host, "--port", str(port))
        return ProcessSpec(
            name="flower",
            argv=(sys.executable, "-m", "workers.flower_page", *listening),
            env={
                **environment(plan, wiring, "flower"),
                "BATCHWRIGHT_FLOWER_PASSWORD": wiring.flower_password,
            },
            ready=HttpAnswers(f"http://{local_address(plan.flower_host)}:{port}/healthcheck"),
            ready_limit_s=_READY_LIMIT_S,
            stop_order=0,
        )

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        workers = [_worker(plan, wiring, f"worker-{number}") for number in range(1, plan.workers + 1)]
        return [*workers, _beat(plan, wiring)] if plan.beat else workers


# Quiet: a banner is no line of a log.
_CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "workers.celery_app")


def _worker(plan: Plan, wiring: Wiring, name: str) -> ProcessSpec:
    ready = ready_path(plan, name)
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", "workers.main", "--name", name),
        env=environment(plan, wiring, name),
        ready=ReadyFile(ready),
        ready_limit_s=_READY_LIMIT_S,
        stop_order=1,
        stop_limit_s=plan.drain_grace_s + _AFTER_GRACE_S,
        remove_first=(ready,),
    )


def _beat(plan: Plan, wiring: Wiring) -> ProcessSpec:
    ready = ready_path(plan, "beat")
    return ProcessSpec(
        name="beat",
        argv=(*_CELERY, "beat", "--pidfile="),
        env=environment(plan, wiring, "beat"),
        ready=ReadyFile(ready),
        ready_limit_s=_READY_LIMIT_S,
        stop_order=0,
        remove_first=(ready,),
    )


def environment(plan: Plan, wiring: Wiring | None, name: str) -> dict[str, str]:
    """What a process of ours finds in its environment, on top of the owner's."""
    env = {
        "BATCHWRIGHT_DATA_DIR": str(plan.data_dir),
        "BATCHWRIGHT_READY_FILE": str(ready_path(plan, name)),
        # A limit of a provider is shared out among as many processes.
        "BATCHWRIGHT_WORKER_PROCESSES": str(plan.workers),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": python_path(),
    }
    if wiring is not None:
        env["BATCHWRIGHT_REDIS_URL"] = wiring.redis_url
        env["BATCHWRIGHT_CACHE_REDIS_URL"] = wiring.cache_redis_url
        env["BATCHWRIGHT_MONGODB_URL"] = wiring.mongodb_url
        if wiring.broker_url is not None:
            env["BATCHWRIGHT_BROKER_URL"] = wiring.broker_url
        if wiring.sim_url is not None:
            env["BATCHWRIGHT_SIMULATOR_URL"] = wiring.sim_url
            env["BATCHWRIGHT_SIMULATOR_ALL_MODELS"] = "true" if plan.all_models else "false"
    return env


def ready_path(plan: Plan, name: str) -> Path:
    return plan.data_dir / "run" / f"{name}.ready"


def local_address(host: str) -> str:
    """The address, as it stands in a URL, at which this machine reaches a service that listens on `host`."""
    address = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{address}]" if ":" in address else address


def python_path() -> str:
    """PYTHONPATH by which `python -m workers.main` finds us from any directory, installed or not."""
    given = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(_PACKAGES_ROOT), given] if given else [str(_PACKAGES_ROOT)])

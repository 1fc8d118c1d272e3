"""A stack of small programs around real servers, to test how a stack lives without what it runs.

`FakeCommands` takes the place of `OurCommands`; names, ports, ready files and stop orders are as in the real
one, which every fake is derived from.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.embedded.commands import OurCommands, Plan, Wiring
from app.embedded.probes import HttpAnswers, ReadyFile
from app.embedded.process import ProcessSpec

FAKE = str(Path(__file__).with_name("fake_process.py"))


def fake(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-S", FAKE, *arguments)  # it needs no packages, and is there sooner without


@dataclass(frozen=True)
class FakeCommands:
    """`worker_arguments` None: a worker that is well; else what each worker's fake does."""

    worker_arguments: tuple[str, ...] | None = None

    def simulator(self, plan: Plan, port: int) -> ProcessSpec:
        return self._serving(OurCommands().simulator(plan, port), port)

    def api(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        return self._serving(OurCommands().api(plan, wiring, port), port)

    def flower(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        return self._serving(OurCommands().flower(plan, wiring, port), port)

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        return [self._waiting(spec, plan) for spec in OurCommands().portless(plan, wiring)]

    def _serving(self, spec: ProcessSpec, port: int) -> ProcessSpec:
        assert isinstance(spec.ready, HttpAnswers)
        return replace(spec, argv=fake("serve", str(port)))

    def _waiting(self, spec: ProcessSpec, plan: Plan) -> ProcessSpec:
        ready = spec.ready.path if isinstance(spec.ready, ReadyFile) else plan.data_dir / "run" / spec.name
        if self.worker_arguments is not None and spec.name.startswith("worker"):
            return replace(spec, argv=fake(*self.worker_arguments))
        return replace(spec, argv=fake("ready", os.fspath(ready)))

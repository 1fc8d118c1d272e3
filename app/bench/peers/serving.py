"""An engine as a process: one JSON line in for each lap, one out.

others.py writes first the rules ({url, model, concurrency, core, ...}), then a lap a line ({prompts, answers}
or what the engine understands), and closes stdin to end it. Only what `answer` does is timed; making requests
ready before it and checking every answer after it is not.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from app.bench.peers.meters import bind_to


class Engine(ABC):
    """One way to get prompts answered.

    Attributes:
        is_producer: it only hands the work to processes of its own, which alone run on the engine's core.
        version: what the table says it is.
    """

    is_producer = False
    version = ""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self.rules = rules

    async def open(self) -> None:  # noqa: B027 - not every engine has something to open
        """Make clients; not timed."""

    def prepare(self, lap: Mapping[str, Any]) -> Any:
        """What `answer` gets; not timed."""
        return lap["prompts"]

    @abstractmethod
    async def answer(self, work: Any) -> Sequence[Any]:
        """Do it all; timed."""

    async def answers(self, lap: Mapping[str, Any], done: Sequence[Any]) -> list[str]:
        """The texts that came, in the order of the prompts; not timed."""
        return [str(each) for each in done]

    async def wrong(self, lap: Mapping[str, Any], done: Sequence[Any]) -> list[str]:
        """A sentence for each answer that is not f(prompt)."""
        texts = await self.answers(lap, done)
        return wrong_answers(lap["answers"], texts)

    def cpu_s(self) -> float:
        """User and system time of what answers, so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    async def close(self) -> None:  # noqa: B027 - not every engine has something to close
        """Give everything back."""


def wrong_answers(expected: Sequence[str], got: Sequence[str]) -> list[str]:
    """What is missing or different, a sentence each."""
    found = [f"{len(got)} answers to {len(expected)} prompts"] if len(got) != len(expected) else []
    for number, (want, have) in enumerate(zip(expected, got, strict=False)):
        if want != have:
            found.append(f"answer {number} is {have[:80]!r}, not {want[:80]!r}")
    return found


async def each_under(limit: int, work: Sequence[Any], ask: Any) -> list[Any]:
    """Ask for each, `limit` at once, by as many tasks that take one after the other."""
    done: list[Any] = [None] * len(work)
    numbers = iter(range(len(work)))

    async def lane() -> None:
        for number in numbers:
            done[number] = await ask(work[number])

    await asyncio.gather(*(lane() for _ in range(min(limit, len(work)))))
    return done


def serve(make: type[Engine]) -> None:
    """Answer laps until stdin ends."""
    # Libraries print to stdout as they like; ours is the only line that must come out there.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    rules = json.loads(sys.stdin.readline())
    if not make.is_producer:
        bind_to(rules["core"])
    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(make(rules), out))


async def _serve(engine: Engine, out: TextIO) -> None:
    loop = asyncio.get_running_loop()
    try:
        await engine.open()
        _say(out, {"ready": True, "version": engine.version})
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            _say(out, await _lap(engine, json.loads(line)))
    finally:
        await engine.close()


async def _lap(engine: Engine, lap: Mapping[str, Any]) -> dict[str, Any]:
    work = engine.prepare(lap)
    gc.collect()
    began_s, began_cpu_s = time.perf_counter(), engine.cpu_s()
    done = await engine.answer(work)
    seconds, used_s = time.perf_counter() - began_s, engine.cpu_s() - began_cpu_s
    wrong = await engine.wrong(lap, done)
    return {
        "items": len(work),
        "seconds": seconds,
        "cpu_s": used_s,
        "wrong": len(wrong),
        "first_wrong": wrong[0] if wrong else None,
    }


def _say(out: TextIO, what: Mapping[str, Any]) -> None:
    out.write(json.dumps(what) + "\n")
    out.flush()

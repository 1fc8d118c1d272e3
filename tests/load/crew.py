"""What the load laws share: workers by the number, measures of a provider's log, and a table of what was seen.

A log's call is anything with a beginning, an end and a weight: the simulator's lines and the small provider's calls.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.support.apart import apart
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.small_provider import Seen
from tests.support.workers import Site, WorkerProcess, open_site, started_worker

PROCESSES = 4
_LINE_BYTES = 8_192  # some lines of a call log
PROVIDER = """
[providers.{name}]
kind = "{kind}"
base_url = "{url}"
models = ["{name}-*"]
{limits}
"""
LIMITS = """
[providers.{name}.limits]
{lines}
"""


@contextmanager
def load_site(servers: TestServers, directory: Path, *simulator_flags: str) -> Iterator[Site]:
    """A site of its own databases."""
    with open_site(apart(servers, "load"), directory, *simulator_flags) as site:
        yield site


def configure(site: Site, toml: str) -> dict[str, str]:
    """Write the settings file of workers to come; gives the setting that names it."""
    path = site.directory / "batchwright.toml"
    path.write_text(toml, encoding="utf-8")
    return {"BATCHWRIGHT_CONFIG": str(path)}


def limits_of(name: str, **limits: int) -> str:
    """The TOML of a provider's limits."""
    return LIMITS.format(name=name, lines="\n".join(f"{key} = {value}" for key, value in limits.items()))


def small(url: str, **limits: int) -> str:
    """The TOML of a small provider (tests/support/small_provider.py) that answers `small-*`."""
    told = limits_of("small", **limits) if limits else ""
    return PROVIDER.format(name="small", kind="openai", url=url, limits=told)


@contextmanager
def started_workers(
    site: Site, settings: Mapping[str, str] | None = None, count: int = PROCESSES
) -> Iterator[list[WorkerProcess]]:
    """So many processes that share everything."""
    told = {"BATCHWRIGHT_WORKER_PROCESSES": str(count), **(settings or {})}
    with ExitStack() as stack:
        yield [stack.enter_context(started_worker(site, f"w{n}", **told)) for n in range(1, count + 1)]


def latest(site: Site) -> float:
    """When the simulator's last logged call began, Unix seconds; 0 before there is one."""
    path = site.simulator.log_path
    if not path.exists():
        return 0.0
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LINE_BYTES))
        lines = log.read().splitlines()
    # The last line may be half written, the first one half read.
    return max((float(orjson.loads(line)["time"]) for line in lines[1:] if line.endswith(b"}")), default=0.0)


def until_called_at(site: Site, at: float, within_s: float) -> float:
    """Wait until a call has begun at that time or later; gives when."""
    return eventually(lambda: (found := latest(site)) >= at and found, within_s)


# --- measures


@dataclass(frozen=True, slots=True)
class Logged:
    """One call of a provider's log; times in seconds."""

    began: float
    ended: float
    status: int
    tokens: int = 0
    prompt: str = ""


def of_simulator(lines: Iterable[Mapping[str, Any]]) -> list[Logged]:
    """The simulator's lines in the order of their beginnings."""
    calls = [
        Logged(
            line["time"],
            line["time"] + line["duration_ms"] / 1000,
            line["status"],
            line["prompt_tokens"] + line["completion_tokens"],
            line["prompt_hash"],
        )
        for line in lines
    ]
    return sorted(calls, key=lambda call: call.began)


def of_small(calls: Iterable[Seen]) -> list[Logged]:
    """The same of a small provider; what is under way there is left out."""
    ended = [Logged(call.began, call.ended, call.said.status) for call in list(calls) if call.ended]
    return sorted(ended, key=lambda call: call.began)


def busiest(calls: Sequence[Logged], window_s: float, *, tokens: bool = False) -> int:
    """The most calls, or their tokens, that began within any stretch of this length."""
    most = held = first = 0
    for call in calls:
        held += call.tokens if tokens else 1
        while calls[first].began <= call.began - window_s:
            held -= calls[first].tokens if tokens else 1
            first += 1
        most = max(most, held)
    return most


def began_within(calls: Sequence[Logged], since: float, until: float) -> list[Logged]:
    """Those that began in a stretch."""
    return [call for call in calls if since <= call.began < until]


def overlaps(calls: Sequence[Logged]) -> list[tuple[float, int]]:
    """How many calls were under way, as steps (from when, how many); an end comes before a beginning."""
    events = sorted([(call.ended, -1) for call in calls] + [(call.began, 1) for call in calls])
    steps, held = [], 0
    for at, change in events:
        held += change
        steps.append((at, held))
    return steps


def mean_overlap(steps: Sequence[tuple[float, int]], since: float, until: float) -> float:
    """How many were under way on average in a stretch."""
    area, at, held = 0.0, since, 0
    for when, now in steps:
        if when > until:
            break
        if when > since:
            area += held * (when - at)
            at = when
        held = now
    return (area + held * (until - at)) / (until - since)


def show(law: str, **numbers: object) -> None:
    """A law's numbers, one a line, beside pytest's own lines."""
    width = max(map(len, numbers))
    lines = [
        f"\n{law}",
        *(f"  {name.replace('_', ' '):<{width}}  {_said(value)}" for name, value in numbers.items()),
    ]
    sys.stderr.write("\n".join(lines) + "\n")


def _said(value: object) -> str:
    return (
        f"{value:,.2f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )

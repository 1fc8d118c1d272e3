"""What the checks of servers have in common: round trips, clocks, and an address without its password.

Round trips are measured after all other checks, one server after the other: beside busy threads of this process the
p99 would be theirs (6 ms instead of 0.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from app.doctor.findings import Finding, run_checks

PINGS = 100
_PING_WITHIN_S = 0.9
_GIVE_UP_S = 1.25
_MOST_OFFSET_S = 1.0


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """How long pings took, in milliseconds."""

    pings: int
    min_ms: float
    median_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> RoundTrip:
        """The figures of these times; at least one. The p99 is the nearest rank: the worst of fewer than 100."""
        ordered = sorted(seconds)
        rank = max(0, -(-len(ordered) * 99 // 100) - 1)
        picked = (ordered[0], ordered[(len(ordered) - 1) // 2], ordered[rank])
        return cls(len(ordered), *(round(each * 1000, 3) for each in picked))

    def __str__(self) -> str:
        return f"round trip {self.median_ms:.2f} ms (min {self.min_ms:.2f}, p99 {self.p99_ms:.2f})"


@dataclass(frozen=True, slots=True)
class Timing:
    """How to measure one server, and the median from which on it is far away."""

    measure: Callable[[], RoundTrip]
    slow_ms: float


def with_round_trips(findings: Sequence[Finding], timings: Mapping[str, Timing]) -> list[Finding]:
    """The same findings; those that are well and have a timing with their round trip, or what is wrong with it."""
    timed: list[Finding] = []
    for each in findings:
        if each.state == "ok" and each.name in timings:
            check = partial(_timed, each, timings[each.name])
            timed += run_checks({each.name: check}, _GIVE_UP_S)
        else:
            timed.append(each)
    return timed


def _timed(finding: Finding, timing: Timing) -> Sequence[Finding]:
    trip = timing.measure()
    text, data = f"{finding.text}, {trip}", {**finding.data, "round_trip": asdict(trip)}
    if trip.median_ms > timing.slow_ms:
        fix = "run it near the workers"
        return [Finding(finding.name, "warning", f"{text}; that is far away", fix, data)]
    return [replace(finding, text=text, data=data)]


def ping_often(ping: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> RoundTrip:
    """A hundred pings, or as many as there are in 0.9 seconds, after one that opens the connection."""
    ping()
    seconds: list[float] = []
    began = clock()
    while len(seconds) < PINGS and (not seconds or clock() - began < _PING_WITHIN_S):
        asked = clock()
        ping()
        seconds.append(clock() - asked)
    return RoundTrip.of(seconds)


def clock_offset_s(server_time: Callable[[], float], clock: Callable[[], float] = time.time) -> float:
    """How far a server's clock is ahead of ours, good to half a round trip: we read ours before and after."""
    before = clock()
    theirs = server_time()
    return round(theirs - (before + clock()) / 2, 3)


def clock_finding(findings: Sequence[Finding]) -> list[Finding]:
    """What the servers' clocks say together; nothing where no server told its time."""
    offsets = {
        each.name: float(each.data["clock_offset_s"]) for each in findings if "clock_offset_s" in each.data
    }
    if not offsets:
        return []
    name, offset_s = max(offsets.items(), key=lambda item: abs(item[1]))
    data = {"offsets_s": offsets}
    if abs(offset_s) <= _MOST_OFFSET_S:
        text = f"this machine and its servers agree within {max(1, round(abs(offset_s) * 1000))} ms"
        return [Finding("clocks", "ok", text, data=data)]
    text = f"the clock of {name} is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} ours"
    # Leases and limits go by the servers' clocks alone, so nothing breaks: only times that are shown do.
    fix = "let both machines take their time from NTP; until then shown times and durations are off"
    return [Finding("clocks", "warning", text, fix, data)]


def address(url: str) -> str:
    """Where a server is: scheme and hosts, without name, password or options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2] or parts.path}"

"""The vital signs of one process: what its clients, cache, flights and recorder have done and hold now.

beats.py fills one in each time, and app/api/own_signs.py one of an API process. store/worker_processes.py carries it as
a plain document, and `/metrics` (exposition.py) and `batchwright doctor` read it back. Counts only grow while a process
lives and start at 0 with the next one.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from workers.observed import Readings
from workers.transport.port import ClientStats

Doc = dict[str, Any]

# What the cache counts, in the words of store/cache_stats.py; others in a mapping are not carried.
CACHE_COUNTS: Final = ("hits", "misses", "kept", "too_large", "corrupt", "early", "late")
_COUNTED = ("protocols", "failures")
_PAIRS = ("refused", "own", "machine", "streams")


@dataclass(slots=True)
class Intake:
    """What the broker has brought this process. Celery makes its consumer itself, so there is one, for the process.

    Attributes:
        seen: messages that arrived, refused ones included.
        refused: those that were dropped, by reason.
        cancelled: queues that an operator has told this process to leave alone.
    """

    seen: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    cancelled: set[str] = field(default_factory=set)

    def refuse(self, reason: str) -> None:
        """One more of them was dropped."""
        self.refused[reason] += 1


INTAKE: Final = Intake()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderVitals:
    """One provider as this process reaches it: its client, and its call slots in use of those there are.

    `answered_s`, `failed_s`: seconds before the beat since a call was answered, and since one got no answer, or None.
    """

    client: ClientStats
    slots_in_use: int
    slots: int
    answered_s: float | None = None
    failed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One process at the moment of a beat.

    Attributes:
        transport: the HTTP client that was chosen, `httpx` or `pyreqwest`; empty for an API process.
        started_at: Unix seconds.
        providers: by name.
        cache: counts since the start, by the words of `CACHE_COUNTS`. Like all counts they never fall: Prometheus
            would take that for a restart and count everything twice.
        flights_owned: questions of which this process asks one copy for others.
        flights_held: those of them that it holds in Redis for all workers.
        record_buffer_results, record_buffer_bytes: answers that wait for MongoDB.
        record_buffer_oldest_s: how long the first of them has waited; 0 when none waits.
        loop_lag_s: how late the beat's own timer was, by which everything in that loop was late.
        resident_bytes: memory of the process, see `resident_bytes()`.
        refused: messages from the broker that were dropped, by reason (core/inbound.py).
        version: of this program; empty where an older one wrote the signs. `python`: what it runs on.
        process: its seat, such as `worker-1`; empty before its first beat.
        http_address: where its own page for Prometheus is served, `HOST:PORT`; None where there is none.
        own, machine: what the process takes and what its machine has, in the words of machine.py.
        requests: those under way in an API process; None in a worker.
        streams: streams of events that are open there, `sse` and `websocket`.
        observed: what this process has counted and timed (observed.py).
    """

    transport: str
    started_at: float
    providers: Mapping[str, ProviderVitals] = field(default_factory=dict)
    cache: Mapping[str, int] = field(default_factory=dict)
    flights_owned: int = 0
    flights_held: int = 0
    record_buffer_results: int = 0
    record_buffer_bytes: int = 0
    record_buffer_oldest_s: float = 0.0
    loop_lag_s: float = 0.0
    resident_bytes: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    python: str = ""
    process: str = ""
    http_address: str | None = None
    own: Mapping[str, float] = field(default_factory=dict)
    machine: Mapping[str, float] = field(default_factory=dict)
    requests: int | None = None
    streams: Mapping[str, int] = field(default_factory=dict)
    observed: Readings = field(default_factory=Readings)

    def to_doc(self) -> Doc:
        """A document for MongoDB; pairs instead of mappings, for `HTTP/1.1` has a dot, which no field may have."""
        doc: Doc = {each.name: getattr(self, each.name) for each in fields(self)}
        doc["providers"] = [[name, _provider_doc(each)] for name, each in self.providers.items()]
        doc["cache"] = [[name, self.cache[name]] for name in CACHE_COUNTS if name in self.cache]
        for name in _PAIRS:
            doc[name] = [list(pair) for pair in getattr(self, name).items()]
        doc["observed"] = self.observed.to_doc()
        return doc

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Vitals:
        """Read it back; fields that another version of this program wrote are passed over.

        Raises: TypeError, ValueError or KeyError where a field that this version needs is missing or of another form.
        """
        known = _known(cls, doc)
        known["providers"] = {name: _provider(each) for name, each in doc["providers"]}
        known["cache"] = dict(doc["cache"])
        known |= {name: dict(doc.get(name, ())) for name in _PAIRS}
        known["observed"] = Readings.from_doc(doc["observed"]) if "observed" in doc else Readings()
        return cls(**known)


def _provider_doc(provider: ProviderVitals) -> Doc:
    client: Doc = {each.name: getattr(provider.client, each.name) for each in fields(provider.client)}
    for name in _COUNTED:
        client[name] = [list(pair) for pair in client[name].items()]
    doc: Doc = {each.name: getattr(provider, each.name) for each in fields(provider)}
    return doc | {"client": client}


def _provider(doc: Mapping[str, Any]) -> ProviderVitals:
    known = _known(ClientStats, doc["client"])
    for name in _COUNTED:
        known[name] = dict(known[name])
    return ProviderVitals(**_known(ProviderVitals, doc) | {"client": ClientStats(**known)})


def _known(shape: type[Any], doc: Mapping[str, Any]) -> Doc:
    return {each.name: doc[each.name] for each in fields(shape) if each.name in doc}


def resident_bytes() -> int:
    """Memory of this process now; where the system does not tell without a tool (no /proc), its peak so far."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource

    # macOS counts in bytes, others in KiB: getrusage(2).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

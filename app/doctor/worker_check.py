"""The worker processes that live now, by the vital signs they write into MongoDB: clients, cache, recorder, loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from app.doctor.findings import Finding
from app.version import VERSION
from workers.store.mongo import connect
from workers.store.worker_processes import Beat, WorkerProcesses
from workers.vitals import ProviderVitals, Vitals

NAME = "workers"
_PATIENCE_S = 3.0
_LATE_LOOP_S = 0.5
_OLD_BUFFER_S = 5.0
_NEARLY_ALL_FILES = 0.8
# Of requests, once there are enough of them to tell.
_FAILING = 0.05
_TELLING = 20


def check_workers(
    url: str, database: str, *, expected: bool, configured: Sequence[str] = ()
) -> Sequence[Finding]:
    """One finding for them all and one for each.

    Args:
        expected: a stack runs, so that there should be some.
        configured: names of the providers that the settings know.
    """
    try:
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client, pymongo.timeout(_PATIENCE_S):
            processes = WorkerProcesses(client[database])
            beats, slots = processes.beats(), processes.slots()
    except (PyMongoError, ValueError) as error:
        text = f"unknown, for MongoDB does not tell ({type(error).__name__})"
        return [Finding(NAME, "warning", text, "see what is said of mongodb")]
    unserved = of_unserved(configured, slots) if any(beat.alive for beat in beats) else []
    return [_all(beats, expected=expected), *_versions(beats), *unserved, *map(_one, beats)]


def _all(beats: Sequence[Beat], *, expected: bool) -> Finding:
    living = sum(beat.alive for beat in beats)
    data = {"living": living, "silent": len(beats) - living}
    if living:
        return Finding(
            NAME, "ok", f"{living} {'process lives' if living == 1 else 'processes live'}", data=data
        )
    if expected:
        fix = "`batchwright logs worker-1` shows why"
        return Finding(NAME, "problem", "the stack runs, but no worker process lives", fix, data)
    return Finding(NAME, "warning", "no worker process lives, so batches wait", "start one", data)


def _versions(beats: Sequence[Beat]) -> list[Finding]:
    """Whether all living processes are of one version, ours: shards and signs of another may not be understood."""
    versions = Counter(str((beat.stats or {}).get("version") or "unknown") for beat in beats if beat.alive)
    return of_versions(versions)


def of_versions(versions: Mapping[str, int]) -> list[Finding]:
    """What processes by version mean; nothing where all are of ours."""
    if not versions or set(versions) == {VERSION}:
        return []
    said = ", ".join(f"{number} of {version}" for version, number in sorted(versions.items()))
    text = f"processes of other versions than {VERSION}, which is here: {said}"
    return [Finding(f"{NAME} versions", "warning", text, "restart them with one version", dict(versions))]


def of_unserved(configured: Sequence[str], slots: Mapping[str, int]) -> list[Finding]:
    """Providers that get work, since they are configured, and of which no living process takes any."""
    names = [name for name in configured if not slots.get(name, 0)]
    if not names:
        return []
    text = f"none serves {', '.join(names)}, so batches that need it wait"
    fix = "start a worker that has its key, and whose BATCHWRIGHT_WORKER_PROVIDERS does not leave it out"
    return [Finding(f"{NAME} providers", "warning", text, fix, {"unserved": names})]


def _one(beat: Beat) -> Finding:
    if not beat.alive:
        text = f"silent for {beat.age_s:.0f} s; its work goes to others once its leases have run out"
        return Finding(
            beat.seat, "warning", text, "see its log; it is forgotten after 100 s", {"age_s": beat.age_s}
        )
    try:
        vitals = Vitals.from_doc(beat.stats) if beat.stats is not None else None
    except (TypeError, ValueError, KeyError):
        vitals = None
    if vitals is None:
        text = "lives, but tells nothing of itself that this version understands"
        return Finding(beat.seat, "warning", text, "run the same version everywhere", {"age_s": beat.age_s})
    return of_vitals(beat.seat, vitals, beat.age_s)


def of_vitals(seat: str, vitals: Vitals, age_s: float) -> Finding:
    """What one process's signs say; the client figures are in `data`, by provider."""
    data = data_of(vitals) | {"age_s": age_s}
    calls = sum(each.client.requests for each in vitals.providers.values())
    text = f"{vitals.transport}, {calls:,} requests, {vitals.resident_bytes / 1e6:,.0f} MB"
    if vitals.loop_lag_s > _LATE_LOOP_S:
        fix = "give it a core of its own, or lower BATCHWRIGHT_WORKER_THREADS"
        return Finding(seat, "warning", f"{text}; its loop is {vitals.loop_lag_s:.1f} s late", fix, data)
    if vitals.record_buffer_oldest_s > _OLD_BUFFER_S:
        waiting = f"{vitals.record_buffer_results:,} results wait for MongoDB, {vitals.record_buffer_oldest_s:.0f} s"
        return Finding(
            seat, "warning", f"{text}; {waiting}", "see what is said of mongodb and of the disk", data
        )
    opened, most = (vitals.own.get(name, 0.0) for name in ("open_files", "open_files_limit"))
    if most > 0 and opened > _NEARLY_ALL_FILES * most:
        fix = "run `ulimit -n` with more before its start, or lower BATCHWRIGHT_HTTP_MAX_CONNECTIONS"
        return Finding(seat, "warning", f"{text}; {opened:,.0f} of {most:,.0f} files are open", fix, data)
    failures = _failures(vitals)
    text = f"{text}, without an answer: {failures}" if failures else text
    if any(map(_fails, vitals.providers.values())):
        return Finding(seat, "warning", text, "see what is said of the provider and of the network", data)
    return Finding(seat, "ok", text, data=data)


def _failures(vitals: Vitals) -> str:
    """Requests without an HTTP answer, by class of error, the most frequent first."""
    counts: Counter[str] = Counter()
    for provider in vitals.providers.values():
        counts.update(provider.client.failures)
    return ", ".join(f"{number:,} {error}" for error, number in counts.most_common())


def _fails(provider: ProviderVitals) -> bool:
    """Whether too many requests had no HTTP answer; those that we cancelled ourselves say nothing of a provider."""
    client = provider.client
    failed = sum(number for error, number in client.failures.items() if error != "cancelled")
    return client.requests >= _TELLING and failed > _FAILING * client.requests


def data_of(vitals: Vitals) -> dict[str, Any]:
    """The signs for JSON."""
    data = asdict(vitals)
    data["clients"] = {name: _client(each) for name, each in data.pop("providers").items()}
    return data


def _client(provider: Mapping[str, Any]) -> dict[str, Any]:
    return {**provider["client"], "slots": provider["slots"], "slots_in_use": provider["slots_in_use"]}

"""What the workers' vital signs say for `GET /v1/top`: calls under way, how long calls took, and a row each. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from workers import metrics
from workers.core.glance import Hands
from workers.core.histogram import Histogram, merged
from workers.store.worker_processes import Beat
from workers.vitals import Vitals

Doc = dict[str, Any]


def hands(vitals: Mapping[str, Vitals], provider: str) -> Hands:
    """What all processes have in hand for a provider."""
    theirs = [signs.providers[provider] for signs in vitals.values() if provider in signs.providers]
    return Hands(sum(each.slots_in_use for each in theirs), sum(each.slots for each in theirs))


def times(vitals: Mapping[str, Vitals]) -> dict[tuple[Hashable, str], Histogram]:
    """How long the calls of each process took, by process and provider."""
    found: dict[tuple[Hashable, str], list[Histogram]] = {}
    for seat, signs in vitals.items():
        for (name, labels), each in signs.observed.times.items():
            if name == metrics.LLM_SECONDS.name:
                found.setdefault((_process(seat, signs), labels[0]), []).append(each)
    return {key: merged(each) for key, each in found.items()}


def cpu_ms(vitals: Mapping[str, Vitals]) -> dict[Hashable, int]:
    """Processor time of each process since its start, by `cpu_key`."""
    known = {seat: signs.own["cpu_s"] for seat, signs in vitals.items() if "cpu_s" in signs.own}
    return {cpu_key(seat, vitals[seat]): round(cpu_s * 1000) for seat, cpu_s in known.items()}


def cpu_key(seat: str, vitals: Vitals) -> Hashable:
    """Under what the processor time of a process is kept."""
    return "cpu", _process(seat, vitals)


def worker_row(beat: Beat, vitals: Vitals | None, cpu_ms_a_second: float | None) -> Doc:
    """One process by its last sign; `vitals` are None where it told nothing, or is silent."""
    providers = list(vitals.providers.values()) if vitals else []
    return {
        "name": beat.seat,
        "alive": beat.alive,
        "age_s": round(beat.age_s, 1),
        "version": vitals.version or None if vitals else None,
        "started_at": vitals.started_at if vitals else None,
        "calls": sum(each.slots_in_use for each in providers),
        "slots": sum(each.slots for each in providers),
        "memory_bytes": vitals.resident_bytes if vitals else None,
        "cpu_percent": None if cpu_ms_a_second is None else round(cpu_ms_a_second / 10, 1),
        "loop_lag_s": round(vitals.loop_lag_s, 3) if vitals else None,
        "buffer_results": vitals.record_buffer_results if vitals else None,
        "buffer_oldest_s": round(vitals.record_buffer_oldest_s, 3) if vitals else None,
    }


def _process(seat: str, vitals: Vitals) -> Hashable:
    """A seat may have a new process, which counts from 0."""
    return seat, vitals.started_at

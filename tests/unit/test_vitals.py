"""The vital signs of a worker process, as values and as documents."""

from __future__ import annotations

import os
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers import metrics
from workers.core.inbound import Refusal
from workers.machine import machine_signs, own_signs
from workers.transport.port import ClientStats
from workers.vitals import CACHE_COUNTS, ProviderVitals, Vitals, resident_bytes

pytestmark = pytest.mark.fast

_COUNT = st.integers(0, 2**40)
_COUNTS = st.dictionaries(st.sampled_from(("HTTP/1.1", "HTTP/2", "CallTimeout", "$odd.name")), _COUNT)
_CLIENTS = st.builds(
    ClientStats,
    client=st.sampled_from(("httpx", "pyreqwest")),
    connections=st.none() | _COUNT,
    connections_opened=st.none() | _COUNT,
    in_flight=_COUNT,
    requests=_COUNT,
    protocols=_COUNTS,
    bytes_sent=_COUNT,
    bytes_received=_COUNT,
    retired=_COUNT,
    failures=_COUNTS,
)
_VITALS = st.builds(
    Vitals,
    transport=st.just("httpx"),
    started_at=st.floats(0, 1e10),
    providers=st.dictionaries(
        st.sampled_from(("openai", "my.own")),
        st.builds(ProviderVitals, client=_CLIENTS, slots_in_use=_COUNT, slots=_COUNT),
    ),
    cache=st.dictionaries(st.sampled_from(CACHE_COUNTS), _COUNT),
    flights_owned=_COUNT,
    loop_lag_s=st.floats(0, 100),
    refused=st.dictionaries(st.sampled_from(list(Refusal)), _COUNT),
    version=st.just("1.0"),
    http_address=st.none() | st.just("127.0.0.1:9000"),
    own=st.dictionaries(st.sampled_from(("cpu_s", "open_files")), st.floats(0, 1e9)),
    machine=st.dictionaries(st.sampled_from(("cpu_s", "disk_free")), st.floats(0, 1e12)),
    requests=st.none() | _COUNT,
    streams=st.dictionaries(st.sampled_from(("sse", "websocket")), _COUNT),
)


@settings(max_examples=20)
@given(_VITALS)
def test_vital_signs_come_back_from_their_document_as_they_were(vitals: Vitals) -> None:
    doc = orjson.loads(orjson.dumps(vitals.to_doc()))
    assert Vitals.from_doc(doc) == vitals


def test_a_document_has_no_field_name_that_a_database_refuses() -> None:
    client = ClientStats(
        client="httpx",
        connections=1,
        connections_opened=1,
        in_flight=0,
        requests=1,
        protocols={"HTTP/1.1": 1},
    )
    one = ProviderVitals(client=client, slots_in_use=0, slots=1)
    doc = Vitals(transport="httpx", started_at=0.0, providers={"my.own": one}).to_doc()
    assert not [name for name in _names(doc) if "." in name or name.startswith("$")]


def _names(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for each in value.values() for name in _names(each))]
    return [name for each in value for name in _names(each)] if isinstance(value, list) else []


def test_signs_of_a_newer_version_are_read_as_far_as_they_are_known() -> None:
    vitals = Vitals(transport="httpx", started_at=5.0, resident_bytes=7)
    assert Vitals.from_doc(vitals.to_doc() | {"invented_later": 3}) == vitals


def test_only_the_known_counts_of_the_cache_are_carried() -> None:
    vitals = Vitals(transport="httpx", started_at=0.0, cache={"hits": 2, "tenant-a": 1})
    assert Vitals.from_doc(vitals.to_doc()) == replace(vitals, cache={"hits": 2})


def test_the_memory_of_this_process_is_more_than_an_interpreter_and_less_than_the_machine() -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 5_000_000 < resident_bytes() < machine


def test_what_the_process_and_its_machine_take_is_told_in_numbers_above_nothing() -> None:
    own, machine = own_signs(), machine_signs()
    assert own["cpu_s"] > 0 and machine["cores"] >= 1 and machine["cpu_s"] > own["cpu_s"]
    assert 0 < machine["memory_available"] < machine["memory_total"]
    assert 0 < machine["disk_free"] <= machine["disk_total"]


def test_every_metric_is_named_by_the_rules_of_prometheus() -> None:
    assert len({each.name for each in metrics.ALL}) == len(metrics.ALL) > 20
    for each in metrics.ALL:
        assert each.name.startswith("batchwright_") and each.help.endswith(".")
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert set(each.labels) <= BOUNDED


# What each of them may say is in docs/metrics.md.
BOUNDED = {
    *("process", "provider", "protocol", "error", "direction", "transport", "reason", "method", "endpoint"),
    *(
        "status",
        "kind",
        "outcome",
        "verdict",
        "dependency",
        "queue",
        "rule",
        "source",
        "state",
        "version",
        "python",
    ),
}

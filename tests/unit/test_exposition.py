"""The registry of metrics and what a page shows agree, and Prometheus's own parser reads every value back."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from app.api.standing import of_limits, of_recorded, of_stands
from config.secret import Secret
from workers import metrics
from workers.core.histogram import PROMETHEUS_BOUNDS_S, Histogram
from workers.core.lanes import AllowanceState, LaneState, LimitState
from workers.core.recorded import SUMS, added, never_less
from workers.exposition import Sample, may_read, page_of, page_of_process, samples_of
from workers.metric import Metric
from workers.metrics_kept import KEPT
from workers.observed import Observed, Readings
from workers.store.standing import Stands
from workers.transport.port import ClientStats
from workers.vitals import CACHE_COUNTS, ProviderVitals, Vitals

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
# Each has one line of its own in app/api/metrics.py or app.api.standing.py, beside a look of its own.
ON_THE_PAGE_ALONE = {
    "MONGODB_UP",
    "CONTROL_REDIS_UP",
    "DISK_USED",
    "QUEUE_MESSAGES",
    "WORKER_UP",
    "API_UP",
    "BEAT_AGE",
}


def worker(observed: Readings | None = None) -> Vitals:
    """Signs in which everything has a value."""
    client = ClientStats(
        client="httpx",
        connections=2,
        connections_opened=3,
        in_flight=4,
        requests=10,
        protocols={"HTTP/2": 9},
        bytes_sent=1_000,
        bytes_received=2_000,
        retired=1,
        failures={"CallTimeout": 1},
    )
    own = {"cpu_s": 1.5, "open_files": 7, "open_files_limit": 1024}
    machine = {
        "cpu_s": 9.0,
        "cores": 2,
        "memory_total": 8,
        "memory_available": 4,
        "disk_total": 10,
        "disk_free": 5,
    }
    return Vitals(
        transport="httpx",
        started_at=100.0,
        providers={"openai": ProviderVitals(client=client, slots_in_use=4, slots=256)},
        cache=dict.fromkeys(CACHE_COUNTS, 5),
        refused={"malformed": 2},
        version="1.2.3",
        python="3.11.9",
        process="worker-1",
        own=own,
        machine=machine | {"network_sent": 1, "network_received": 2},
        observed=observed or Readings(),
    )


def api(observed: Readings | None = None) -> Vitals:
    """The same of an API process."""
    return Vitals(
        transport="",
        started_at=1.0,
        requests=2,
        streams={"sse": 1, "websocket": 0},
        observed=observed or Readings(),
    )


def everything_counted() -> Readings:
    """One count of each metric that any process counts."""
    seen = Observed()
    for metric in counted():
        labels = [f"a {label}" for label in metric.labels[:-1]]
        if metric.kind == "histogram":
            seen.time(metric, *labels, seconds=0.02)
        else:
            seen.count(metric, *labels)
    return seen.read()


@cache
def counted() -> frozenset[Metric]:
    """The metrics that the code counts or times by their names."""
    paths = [path for room in ("workers", "app") for path in (ROOT / room).rglob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths if path.name != "observed.py")
    names = set(re.findall(r"OBSERVED\.(?:count|time)\(\s*metrics\.([A-Z_]+)", source))
    return frozenset(getattr(metrics, name) for name in names)


def labels_of(samples: Iterable[Sample]) -> dict[str, set[str]]:
    """The labels under which each metric stands on the page of these samples, as the parser reads it."""
    text = page_of(samples)[0].decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            name = family.name + ("_total" if family.type == "counter" else "")
            found.setdefault(name, set()).update(set(each.labels) - {"le"})
    return found


def test_what_alerts_watch_grow_is_there_before_it_grows() -> None:
    at_first = dict(of_kind(worker()))
    for metric in (metrics.SCHEDULES_MISSED, metrics.SHARDS_RESCUED, metrics.RECORD_FLUSHED):
        assert at_first[metric] == [0]
    seen = Observed()
    seen.count(metrics.SHARDS_RESCUED, by=3)
    assert dict(of_kind(worker(seen.read())))[metrics.SHARDS_RESCUED] == [3]


def of_kind(vitals: Vitals) -> Iterable[tuple[Metric, list[float]]]:
    """What one process shows of each counter without labels of its own."""
    found: dict[Metric, list[float]] = {}
    for metric, labels, value in samples_of(vitals, "worker-1"):
        if metric.kind == "counter" and len(labels) == 1 and not isinstance(value, Histogram):
            found.setdefault(metric, []).append(value)
    return found.items()


def test_every_metric_has_a_source_and_its_own_labels_on_the_page() -> None:
    limits = LimitState(
        "openai",
        paused_s=1.0,
        request_wait_s=0.0,
        token_wait_s=0.0,
        lanes=(LaneState("m", 0, None, "open"),),
        allowances=(AllowanceState("requests", 10, 5, 10.0, 1.0),),
    )
    stands = Stands(
        shards={("openai", "queued"): 1},
        oldest_due_s={"openai": 1.0},
        batches={"completed": 1},
        alerts={"errors": 1},
        beat_silent_s=1.0,
    )
    shown = labels_of(
        [
            *samples_of(worker(everything_counted()), "worker-1"),
            *samples_of(api(), "api-1"),
            *of_recorded({"openai": dict.fromkeys(SUMS, 1)}),
            *of_stands(stands),
            *of_limits(limits),
        ]
    )
    alone = {getattr(metrics, name, None) or _kept(name) for name in ON_THE_PAGE_ALONE}
    wanted = {each.name: set(each.labels) for each in metrics.ALL if each not in alone}
    assert {name for name in wanted if name not in shown} == set(), "nobody fills these in"
    assert shown == wanted


def _kept(name: str) -> Metric:
    from workers import metrics_kept

    found: Metric = getattr(metrics_kept, name)
    return found


def test_whoever_is_counted_in_a_process_has_the_process_for_its_last_label() -> None:
    assert len(counted()) > 20
    for metric in counted():
        assert metric.labels[-1] == "process" and metric not in KEPT, metric.name
        assert metric.kind in ("counter", "histogram"), metric.name


_TIMES = st.lists(st.floats(1e-4, 2_000), min_size=1, max_size=30)


@settings(max_examples=20)
@given(_TIMES)
def test_a_histogram_on_the_page_says_how_many_were_not_over_each_bound(times: list[float]) -> None:
    seen = Observed()
    for seconds in times:
        seen.time(metrics.LLM_SECONDS, "openai", "ok", seconds=seconds)
    page = page_of_process(worker(seen.read()))[0].decode()
    family = next(
        each for each in text_string_to_metric_families(page) if each.name == metrics.LLM_SECONDS.name
    )
    assert family.type == "histogram"
    values = {
        (each.name.removeprefix(family.name), each.labels.get("le")): each.value for each in family.samples
    }
    assert values["_count", None] == values["_bucket", "+Inf"] == len(times)
    assert values["_sum", None] == pytest.approx(sum(times))
    below = {
        float(str(le)): value for (name, le), value in values.items() if name == "_bucket" and le != "+Inf"
    }
    assert below == {bound: sum(each <= bound for each in times) for bound in PROMETHEUS_BOUNDS_S}


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_a_process_shows_itself_under_its_own_name_in_the_format_that_is_asked_for(accept: str) -> None:
    page, content_type = page_of_process(worker(everything_counted()), accept)
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain; version=0.0.4")
    assert page.endswith(b"# EOF\n") == bool(accept)
    lines = [line for line in page.decode().splitlines() if line and not line.startswith("#")]
    assert lines and all('process="worker-1"' in line for line in lines)


def test_what_another_version_counts_is_left_out_where_it_cannot_be_told() -> None:
    odd = Readings(
        {("batchwright_invented_later_total", ()): 1.0, (metrics.KEY_USES.name, ("one", "too many")): 1.0},
        {(metrics.KEY_USES.name, ("accepted",)): Histogram({0: 1}, 1.0, 1)},
    )
    assert list(samples_of(worker(odd), "w", now_s=1.0)) == list(samples_of(worker(), "w", now_s=1.0))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(("a", "b", "")), st.fixed_dictionaries({n: st.floats(0, 9) for n in SUMS})
        )
    )
)
@settings(max_examples=20)
def test_a_sum_on_the_page_never_falls(looks: list[dict[str, dict[str, float]]]) -> None:
    shown: dict[str, dict[str, float]] = {}
    for look in looks:
        before, shown = shown, never_less(shown, look)
        for provider, row in (*before.items(), *look.items()):
            assert all(shown[provider][name] >= row[name] for name in SUMS)


PRICES_PER_TOKEN = (2.5e-9, 3.75e-8, 7.5e-8, 1.5e-7, 6e-7, 1.5e-5)


@given(
    spent=st.lists(
        st.tuples(st.sampled_from(PRICES_PER_TOKEN), st.integers(0, 10**7)), min_size=2, max_size=40
    ),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    draw=st.randoms(use_true_random=False),
)
def test_money_is_the_same_to_the_last_digit_however_it_was_added_up(
    spent: list[tuple[float, int]], cuts: list[int], draw: random.Random
) -> None:
    # given rows that one API process reads as they are, and another one in another order and in parts
    amounts = [price * tokens for price, tokens in spent]
    rows = [{"provider": "p", "cost_usd": amount} for amount in amounts]
    other = draw.sample(amounts, len(amounts))
    ends = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [{"provider": "p", "cost_usd": sum(other[first:last])} for first, last in pairwise(ends)]
    # then neither shows less than the other, which Prometheus would take for a counter that began anew
    assert added(rows) == added(parts)


@pytest.mark.parametrize(
    ("authorization", "let_in"),
    [
        (None, False),
        ("", False),
        ("a-token", False),
        ("Basic a-token", False),
        ("Bearer", False),
        ("Bearer another", False),
        ("Bearer t\u00f6ken", False),
        ("Bearer a-token", True),
        ("bearer  a-token ", True),
    ],
)
def test_a_page_with_a_token_is_for_who_sends_it(authorization: str | None, let_in: bool) -> None:
    assert may_read(authorization, Secret("a-token")) is let_in
    assert may_read(authorization, None)

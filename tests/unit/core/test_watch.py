"""When a consumer counts as dead, and all that explains its silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.watch import Look, Watch, follow

pytestmark = pytest.mark.fast
LIMIT_S, EVERY_S = 60.0, 5.0
_STARVING = Look(
    at_s=1000.0, wall_s=1_700_000_000.0, depths={"plan": 0, "batch.acme": 3}, free_slots=8, seen=7
)


def later(look: Look, seconds: float, **changes: object) -> Look:
    return replace(look, at_s=look.at_s + seconds, wall_s=look.wall_s + seconds, **changes)  # type: ignore[arg-type]


def watched(looks: list[Look]) -> Watch:
    watch: Watch | None = None
    for look in looks:
        watch = follow(watch, look, longest_gap_s=3 * EVERY_S)
    assert watch is not None
    return watch


def row(count: int) -> list[Look]:
    return [later(_STARVING, n * EVERY_S) for n in range(count)]


def test_messages_that_waited_a_minute_for_a_free_process_that_hears_nothing_are_named() -> None:
    assert watched(row(12)).starved(LIMIT_S) is None
    assert watched(row(13)).starved(LIMIT_S) == "batch.acme"


@pytest.mark.parametrize(
    "explained",
    [
        pytest.param({"depths": None}, id="the broker was down"),
        pytest.param({"depths": {"plan": 1, "batch.acme": 0}}, id="the queue was empty"),
        pytest.param({"free_slots": 0}, id="no slot was free"),
        pytest.param({"seen": 8}, id="a message came"),
        pytest.param({"draining": True}, id="it drained"),
    ],
)
@given(st.integers(0, 12))
def test_one_look_that_explains_the_silence_clears_it_for_a_whole_minute(
    explained: dict[str, object], at: int
) -> None:
    looks = row(13)
    looks[at] = replace(looks[at], **explained)  # type: ignore[arg-type]
    if "seen" in explained:
        looks[at:] = [replace(look, seen=8) for look in looks[at:]]
    held = at == 0 and "seen" in explained  # nothing came after the first look
    assert (watched(looks).starved(LIMIT_S) is not None) == held


@given(
    st.integers(1, 12),
    st.sampled_from(("process", "machine", "machine whose clock goes on", "clock set back")),
)
def test_a_sleep_in_between_clears_it(at: int, who: str) -> None:
    looks = row(13)
    by_clock = {
        "process": 20.0,
        "machine": 0.0,
        "machine whose clock goes on": 8 * 3600.0,
        "clock set back": 0.0,
    }
    by_wall = by_clock | {"machine": 8 * 3600.0, "clock set back": -3600.0}
    looks[at:] = [
        replace(look, at_s=look.at_s + by_clock[who], wall_s=look.wall_s + by_wall[who])
        for look in looks[at:]
    ]
    assert watched(looks).starved(LIMIT_S) is None


_LOOKS = st.lists(
    st.tuples(
        st.floats(0.1, 20.0),
        st.none() | st.dictionaries(st.sampled_from(("plan", "batch.a", "batch.b")), st.integers(0, 2)),
        st.integers(0, 2),
        st.sampled_from((0, 0, 0, 0, 1)),
    ),
    min_size=1,
    max_size=40,
)


@given(_LOOKS)
def test_it_never_bites_without_a_full_minute_of_looks_that_all_say_so(
    steps: list[tuple[float, dict[str, int] | None, int, int]],
) -> None:
    looks, look = [], _STARVING
    for passed_s, depths, free, came in steps:
        look = later(look, passed_s, depths=depths, free_slots=free, seen=look.seen + came)
        looks.append(look)
    starved = watched(looks).starved(LIMIT_S)
    since = [seen for seen in looks if seen.at_s >= look.at_s - LIMIT_S]
    guilty = (
        starved is not None
        and looks[0].at_s <= look.at_s - LIMIT_S
        and all(seen.depths and seen.depths.get(starved, 0) > 0 and seen.free_slots > 0 for seen in since)
        and len({seen.seen for seen in since}) == 1
    )
    assert starved is None or guilty

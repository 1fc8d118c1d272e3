"""Call slots: shares of batches, and who is told when some are free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.slots import CallSlots

pytestmark = pytest.mark.fast


def test_no_batch_takes_more_than_its_share_while_another_runs() -> None:
    slots = CallSlots(8)
    slots.join("a1", "a", lambda: None)
    slots.join("a2", "a", lambda: None)
    assert slots.take("a1", 100) == 8, "alone it has them all"
    slots.join("b1", "b", lambda: None)
    slots.give_back("a1", 5)
    assert slots.available("a2") == 1, "four are its batch's share, three are held"
    assert slots.take("b1", 100) == 4 and slots.in_use == 7


def test_who_found_too_few_is_told_when_some_come_free() -> None:
    told: list[str] = []
    slots = CallSlots(2)
    slots.join("one", "a", lambda: told.append("one"))
    slots.join("two", "a", lambda: told.append("two"))
    assert slots.take("one", 2) == 2 and slots.available("two") == 0
    told.clear()
    slots.give_back("one")
    assert "two" in told and slots.available("two") == 1


def test_a_shard_that_leaves_frees_what_it_held() -> None:
    slots = CallSlots(3)
    slots.join("one", "a", lambda: None)
    slots.take("one", 3)
    slots.leave("one")
    slots.give_back("one")  # its last call ends after it
    assert slots.in_use == 0
    slots.leave("one")
    slots.join("two", "b", lambda: None)
    assert slots.take("two", 5) == 3


@given(
    st.lists(st.tuples(st.sampled_from(["a1", "a2", "b1"]), st.integers(-3, 6)), max_size=20),
    st.integers(1, 6),
)
def test_never_more_than_there_are(moves: list[tuple[str, int]], total: int) -> None:
    slots, held = CallSlots(total), dict.fromkeys(("a1", "a2", "b1"), 0)
    for shard in held:
        slots.join(shard, shard[0], lambda: None)
    for shard, count in moves:
        if count >= 0:
            held[shard] += slots.take(shard, count)
        else:
            held[shard] -= (back := min(-count, held[shard]))
            slots.give_back(shard, back)
        assert slots.in_use == sum(held.values()) <= total


def test_slots_that_come_free_while_one_shard_gathers_are_no_other_ones_of_its_batch() -> None:
    slots, woken = CallSlots(10), []
    for shard, batch in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        slots.join(shard, batch, lambda shard=shard: woken.append(shard))  # type: ignore[misc]
    with slots.gathering("a1") as ours, slots.gathering("a2") as theirs:
        assert (ours, theirs) == (True, False)
        assert [slots.available(shard) for shard in ("a1", "a2", "b1")] == [5, 0, 5]
        assert woken == []
    assert woken == ["a2"], "it hears of it when the other one has gathered"
    assert slots.available("a2") == 5

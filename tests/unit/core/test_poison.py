"""A shard whose workers keep dying is halved until the one item that kills them stands alone."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from workers.core import poison
from workers.core.messages import Item


def items(count: int) -> list[Item]:
    return [Item(line, line * 10, 10) for line in range(1, count + 1)]


def hunt(
    shard: list[Item], killers: set[int], takeovers: int = 0, depth: int = 0
) -> dict[int, tuple[str, int]]:
    """Run a shard to its end, as workers would: {line: (how it ended, splits on the way)}."""
    while True:
        step = poison.decide(takeovers, shard)
        if isinstance(step, poison.Split):
            ended: dict[int, tuple[str, int]] = {}
            for part, half in zip(
                poison.parts({"_id": "s", "provider": "p"}, step), step.halves, strict=True
            ):
                ended |= hunt(list(half), killers, part["takeovers"], depth + 1)
            return ended
        if isinstance(step, poison.Condemn):
            return {shard[0].line: ("worker_crash", depth)}
        if not any(item.line in killers for item in shard):
            return {item.line: ("answered", depth) for item in shard}
        takeovers += 1


@given(st.integers(1, 500), st.data())
def test_only_the_killer_is_condemned_and_within_log2_n_plus_3_splits(size: int, data: st.DataObject) -> None:
    killers = data.draw(st.sets(st.integers(1, size), max_size=3))
    ended = hunt(items(size), killers)
    assert ended.keys() == set(range(1, size + 1))
    assert {line for line, (how, _) in ended.items() if how == "worker_crash"} == killers
    assert max(splits for _, splits in ended.values()) <= math.log2(size) + 3


@given(st.integers(2, 500))
def test_halves_hold_every_item_once_and_neither_is_empty(size: int) -> None:
    step = poison.decide(poison.SUSPECT_AFTER, items(size))
    assert isinstance(step, poison.Split)
    assert [item for half in step.halves for item in half] == items(size)
    assert all(step.halves)


def test_one_bad_day_condemns_nobody() -> None:
    assert poison.decide(0, items(5)) is None
    assert poison.decide(1, items(5)) is None
    assert poison.decide(3, items(1)) is None
    assert poison.decide(9, []) is None
    assert poison.decide(4, items(1)) == poison.Condemn()


def test_children_are_named_after_their_parent_and_first_line() -> None:
    step = poison.decide(2, items(4))
    assert isinstance(step, poison.Split)
    moved = poison.parts({"_id": "b.000001", "provider": "sim"}, step)
    assert [part["child_id"] for part in moved] == ["b.000001.1", "b.000001.3"]
    assert [part["lines"] for part in moved] == [[1, 2], [3, 4]]


def test_a_condemned_item_ends_as_a_failure_that_says_why() -> None:
    result = poison.result(3, "c")
    assert result.error is not None and result.error.code == "worker_crash"
    assert not result.ok and not result.never_ran


def test_a_shard_whose_run_breaks_rests_longer_each_time_but_never_for_long() -> None:
    rests = [poison.rest_s(takeovers) for takeovers in range(40)]
    assert rests == sorted(rests) and (rests[0], rests[-1]) == (5.0, 60.0)

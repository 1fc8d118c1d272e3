"""What moves to other providers, and what it takes along."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core import handover, poison
from workers.core.choose import Chosen
from workers.core.history import History
from workers.core.messages import Item

PROVIDERS = ["a", "b", "c", "d"]
CHOSEN = st.builds(Chosen, st.sampled_from(PROVIDERS[1:]), st.sampled_from(["m", "n"]))


def doc(**more: Any) -> dict[str, Any]:
    return {"_id": "batch.000001", "provider": "a", **more}


@given(st.dictionaries(st.integers(1, 40), CHOSEN, min_size=1))
def test_every_moved_line_is_in_one_part_at_its_provider_and_model(moving: dict[int, Chosen]) -> None:
    parts = handover.parts(doc(), moving, {})
    assert sorted(line for part in parts for line in part["lines"]) == sorted(moving)
    for part in parts:
        assert part["lines"] == sorted(part["lines"]) and part["tried"] == ["a"]
        assert {moving[line] for line in part["lines"]} == {Chosen(part["provider"], part["model"])}
    assert parts == handover.parts(doc(), dict(reversed(moving.items())), {}), "the same when it is repeated"


@given(st.dictionaries(st.integers(1, 40), CHOSEN, min_size=2), st.data())
def test_children_of_one_parent_never_share_an_id(moving: dict[int, Chosen], data: st.DataObject) -> None:
    """Not those of two hand-overs in one lease, and not with the halves of a split."""
    early = data.draw(st.sets(st.sampled_from(sorted(moving))))
    moves = [{line: moving[line] for line in moving if (line in early) == first} for first in (True, False)]
    parts = [part for move in moves for part in handover.parts(doc(), move, {})]
    items = [Item(line, line, 1) for line in sorted(moving)]
    split = poison.decide(poison.SUSPECT_AFTER, items)
    assert isinstance(split, poison.Split)
    ids = [part["child_id"] for part in [*parts, *poison.parts(doc(), split)]]
    assert len(set(ids)) == len(ids)


@given(st.lists(st.sampled_from(PROVIDERS), min_size=1, max_size=12))
def test_no_chain_of_hand_overs_comes_back_to_where_it_was(wishes: list[str]) -> None:
    shard = doc()
    for provider in wishes:
        had = handover.tried(shard)
        if provider in had:
            with pytest.raises(ValueError, match=f"line 1 was at {provider} before"):
                handover.parts(shard, {1: Chosen(provider, "m")}, {})
            continue
        (part,) = handover.parts(shard, {1: Chosen(provider, "m")}, {})
        shard = {
            "_id": part["child_id"],
            "provider": provider,
            "tried": part["tried"],
            "model": part["model"],
        }
        assert handover.tried(shard) == had | {provider}
    assert len(handover.tried(shard)) <= len(PROVIDERS)


def test_a_part_takes_its_items_histories_along_and_their_attempts_begin_anew() -> None:
    histories = {1: History(3, refusals=2, unreached=1, unknown=1, calls=4, spent_usd=0.5), 2: History(3)}
    moving = {line: Chosen("b", "m", ("a warning",)) for line in (1, 2, 3)}
    (part,) = handover.parts(doc(tried=["z"]), moving, histories)
    assert {line: History.from_doc(kept) for line, kept in part["attempts"].items()} == {
        "1": History(unknown=1, calls=4, spent_usd=0.5)
    }
    assert (part["tried"], part["warnings"]) == (["z", "a"], ["a warning"])


def test_a_child_knows_who_answers_it_and_under_which_name() -> None:
    assert handover.chosen_of(doc()) is None
    assert handover.chosen_of(doc(model="m", warnings=["w"])) == Chosen("a", "m", ("w",))

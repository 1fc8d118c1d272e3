"""The tables of moves, and that the store carries out each of them in one place and no other."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from workers.core import states
from workers.core.states import BATCH_MOVES, SHARD_MOVES, BatchStatus, Ending, Move, ShardStatus

ROOT = Path(__file__).parents[3]
STORE = ROOT / "workers" / "store"
# COMPLETE, END_CANCELLED and END_EXPIRED are one function, `end`: the finalizer says which.
ONE_FUNCTION = {"complete": "end", "end_cancelled": "end", "end_expired": "end"}

MOVES: tuple[Move[Any], ...] = (*BATCH_MOVES, *SHARD_MOVES)
TABLES: list[tuple[type[StrEnum], tuple[Move[Any], ...]]] = [
    (BatchStatus, BATCH_MOVES),
    (ShardStatus, SHARD_MOVES),
]
ENDS = [states.TERMINAL_BATCH, states.ENDED_SHARD]


def reachable(first: StrEnum, moves: tuple[Move[Any], ...]) -> set[StrEnum]:
    found, waiting = {first}, [first]
    while waiting:
        here = waiting.pop()
        for move in moves:
            if here in move.sources and move.target not in found:
                found.add(move.target)
                waiting.append(move.target)
    return found


@pytest.mark.parametrize(("statuses", "moves"), TABLES, ids=["batch", "shard"])
def test_every_status_is_reached_from_the_first(
    statuses: type[StrEnum], moves: tuple[Move[Any], ...]
) -> None:
    assert reachable(next(iter(statuses)), moves) == set(statuses)


def test_a_batch_never_comes_back_to_a_status_it_has_left() -> None:
    for status in BatchStatus:
        for target in {move.target for move in BATCH_MOVES if status in move.sources}:
            assert status not in reachable(target, BATCH_MOVES), f"{status} -> {target} -> ... -> {status}"


@pytest.mark.parametrize(("table", "ends"), [*zip(TABLES, ENDS, strict=True)], ids=["batch", "shard"])
def test_exactly_the_ends_have_no_way_on(
    table: tuple[type[StrEnum], tuple[Move[Any], ...]], ends: tuple[StrEnum, ...]
) -> None:
    statuses, moves = table
    assert {status for status in statuses if not any(status in move.sources for move in moves)} == {*ends}


def test_a_move_has_one_name_and_the_filter_its_sources_say() -> None:
    assert len({move.name for move in MOVES}) == len(MOVES)
    assert states.CANCEL.filter() == {"$in": ["validating", "in_progress"]}


@pytest.mark.parametrize("status", list(BatchStatus))
def test_a_cancel_is_refused_exactly_where_the_batch_api_refuses_it(status: BatchStatus) -> None:
    refused = {"finalizing", "completed", "failed", "expired"}
    assert states.can_cancel(status) == (status not in refused)
    assert states.is_terminal(status) == (status in {"completed", "failed", "expired", "cancelled"})


def test_every_early_ending_has_its_closing_row() -> None:
    early = {Ending.CANCELLED, Ending.EXPIRED}
    assert states.CLOSING_CODES.keys() == states.CLOSING_MESSAGES.keys() == early


# --- the store, read as a tree


@cache
def functions() -> Sequence[tuple[Path, ast.FunctionDef]]:
    paths = [*(ROOT / "workers").rglob("*.py"), *(ROOT / "app" / "api").rglob("*.py")]
    texts = ((path, path.read_text(encoding="utf-8")) for path in paths)
    # No other text can write a status or name a move that does: there is no need to look.
    trees = ((path, ast.parse(text)) for path, text in texts if "$set" in text or "_move" in text)
    return [
        (path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]


def moves_named_in(node: ast.AST) -> set[str]:
    """Names of moves whose `target` is written there: `states.X.target`."""
    names = {move.name.upper() for move in MOVES}
    return {
        inner.value.attr.lower()
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute)
        and inner.attr == "filter"
        and isinstance(inner.value, ast.Attribute)
        and inner.value.attr in names
    }


def status_values(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """What a function writes into `status`: dicts below a "$set", named dicts that stand there included."""
    named = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "$set":
                    yield from _statuses(value, named)


def _statuses(value: ast.expr, named: dict[str, ast.expr]) -> Iterator[ast.expr]:
    for inner in ast.walk(value):
        if isinstance(inner, ast.Name) and inner.id in named:
            yield from _statuses(named[inner.id], {})
        if isinstance(inner, ast.Dict):
            for key, written in zip(inner.keys, inner.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "status":
                    yield written


def test_a_status_is_written_only_as_the_target_of_a_move_and_only_in_the_store() -> None:
    found = 0
    for path, function in functions():
        for value in status_values(function):
            found += 1
            where = f"{path.name}: {function.name} writes {ast.unparse(value)}"
            assert path.parent == STORE, where
            assert ast.unparse(value).removeprefix("str(").endswith(".target)"), where
    assert found >= len(SHARD_MOVES)


def test_every_shard_move_is_one_function_of_the_store() -> None:
    users: Counter[str] = Counter()
    for path, function in functions():
        if path.parent == STORE and list(status_values(function)):
            for name in moves_named_in(function):
                users[name] += 1
                assert ONE_FUNCTION.get(name, name) == function.name
    assert users == Counter(move.name for move in SHARD_MOVES)


def test_every_batch_move_is_one_function_of_the_store() -> None:
    movers: dict[str, set[str]] = {move.name: set() for move in BATCH_MOVES}
    for path, function in functions():
        for node in ast.walk(function):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "_move" and path.parent == STORE:
                asked = node.args[0]
                if isinstance(asked, ast.Attribute):
                    movers[asked.attr.lower()].add(function.name)
                else:
                    assert ast.unparse(asked) == "move"
                    for name in ("complete", "end_cancelled", "end_expired"):
                        movers[name].add(function.name)
    assert movers == {move.name: {ONE_FUNCTION.get(move.name, move.name)} for move in BATCH_MOVES}

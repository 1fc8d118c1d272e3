"""The engines' processes: every answer is checked, and one that breaks says why."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.bench.others import Broken, Other, OtherProcess, interpreter
from app.bench.peers.raw_httpx import RawHttpx
from app.bench.peers.raw_pyreqwest import RawPyreqwest
from app.bench.peers.serving import Engine, each_under, wrong_answers
from app.bench.placement import Cores
from app.bench.prompts import MODEL, SEED, Prompts
from tests.support.simulator import Simulator

RAW_LOOPS: list[type[Engine]] = [RawHttpx, RawPyreqwest]


@pytest.mark.integration
@pytest.mark.parametrize("loop", RAW_LOOPS)
async def test_a_raw_loop_finds_right_answers_right_and_a_swapped_one_wrong(
    loop: type[Engine], simulator: Simulator
) -> None:
    assert SEED == 7  # that of the session's simulator: f(prompt) is the same
    prompts = Prompts("test")
    engine = loop({"url": simulator.url, "model": MODEL, "concurrency": 4, "core": None})
    await engine.open()
    lap = {"prompts": prompts.texts(6), "answers": prompts.answers(6)}
    done = await engine.answer(engine.prepare(lap))
    assert await engine.wrong(lap, done) == []
    swapped = [done[1], done[0], *done[2:]]
    assert len(await engine.wrong(lap, swapped)) == 2
    assert len(await engine.wrong(lap, done[:-1])) == 1
    await engine.close()


def test_answers_that_are_missing_are_wrong_even_if_the_rest_is_right() -> None:
    assert wrong_answers(["a", "b"], ["a"]) == ["1 answers to 2 prompts"]


async def test_never_more_are_under_way_than_the_limit_and_answers_keep_their_order() -> None:
    running, most = 0, 0

    async def ask(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio_turn()
        running -= 1
        return number * 2

    assert await each_under(3, range(20), ask) == [number * 2 for number in range(20)]
    assert most == 3


async def asyncio_turn() -> None:
    import asyncio

    await asyncio.sleep(0)


def test_a_process_that_breaks_is_told_by_its_last_line(tmp_path: Path) -> None:
    other = Other("gone", "there_is_no_such_engine", "httpx", own=True)
    process = OtherProcess(other, {}, Cores(), tmp_path, sys.executable)
    with pytest.raises(Broken, match="No module named"):
        process.until_ready()
    process.stop()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Other("arq", "arq_jobs", "arq"), "make bench-setup"),
        (Other("x", "x", "no-such-distribution", own=True), "no-such-distribution is not installed"),
    ],
)
def test_an_engine_that_is_not_installed_is_skipped_with_the_reason(
    other: Other, why: str, tmp_path: Path
) -> None:
    with pytest.raises(Broken, match=why):
        interpreter(other, tmp_path / "bin" / "python")


def test_prompts_of_different_laps_have_nothing_in_common_and_answers_differ() -> None:
    first, second = Prompts("1"), Prompts("2")
    texts: Sequence[Any] = [*first.texts(200), *second.texts(200)]
    assert len(set(texts)) == 400
    assert len({*first.answers(200), *second.answers(200)}) == 400

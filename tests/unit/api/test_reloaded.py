"""An API process and its settings: whatever goes wrong with them, it goes on by those it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from app.api.reloaded import Reloaded
from config.settings import Log, Settings, SettingsError
from workers.store.reloads import Answer

pytestmark = pytest.mark.fast


def services(generation: int = 0) -> Mock:
    """Behind them a database in which so many reloads were asked for."""

    async def run(call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    found = Mock(settings=Settings(), run=run)
    found.stores.reloads.generation.return_value = generation
    return found


def refuse() -> Settings:
    raise SettingsError("log.level", "a file", "a level", "loud")


def break_() -> Settings:
    raise PermissionError(".env")


@pytest.mark.parametrize(
    ("load", "error"),
    [
        (refuse, "log.level in a file: expected a level, got 'loud'"),
        (break_, "PermissionError; its log says more"),
    ],
)
async def test_settings_that_cannot_be_read_change_nothing_and_the_next_ones_are_read(
    load: Callable[[], Settings], error: str
) -> None:
    behind = services()
    before, reloaded = behind.settings, Reloaded(behind, load)
    assert (await reloaded.ask_all()) == (0, Answer(reloaded.process, error=error))
    assert behind.settings is before and not behind.stores.reloads.ask.called
    reloaded.load = lambda: replace(Settings(), log=Log(level="debug"))
    assert (await reloaded.reload()).changed == ("log.level: info -> debug",)


async def test_what_was_asked_while_the_process_started_is_read_and_answered_once() -> None:
    behind, reads = services(generation=7), Mock(return_value=Settings())
    reloaded = Reloaded(behind, reads)
    await reloaded._look()
    await reloaded._look()
    assert reads.call_count == 1
    behind.stores.reloads.answer.assert_called_once_with(7, Answer(reloaded.process))


async def test_two_reloads_at_once_follow_one_another() -> None:
    under_way, most = 0, 0
    behind = services()

    async def run(call: Callable[..., Any], *args: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return call(*args)

    behind.run = run
    reloaded = Reloaded(behind, Settings)
    await asyncio.gather(*(reloaded.reload() for _ in range(5)))
    assert most == 1

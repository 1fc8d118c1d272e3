"""Asking whether the broker answers: seldom, once at a time, and never for long."""

from __future__ import annotations

import asyncio

import pytest

from app.api import broker_look
from app.api.broker_look import BrokerLook
from workers.core.errors import StoreUnavailable

pytestmark = pytest.mark.fast


async def test_an_answer_is_kept_for_a_while_and_shared() -> None:
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        return 0

    look = BrokerLook(ask)
    assert await asyncio.gather(*(look.answers() for _ in range(3))) == [True] * 3
    assert await look.answers() and asked == 1


async def test_a_refusal_is_no_answer() -> None:
    async def ask() -> int:
        raise StoreUnavailable("away")

    assert not await BrokerLook(ask).answers()


async def test_a_silent_broker_is_waited_for_once_and_not_asked_again_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker_look, "PATIENCE_S", 0.01)
    monkeypatch.setattr(broker_look, "FRESH_S", 0.0)
    asked, speaks = 0, asyncio.Event()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await speaks.wait()

    look = BrokerLook(ask)
    assert [await look.answers(), await look.answers(), asked] == [False, False, 1]
    monkeypatch.setattr(broker_look, "PATIENCE_S", 5.0)
    speaks.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await look.answers()


async def test_since_when_it_is_away_is_kept_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_look, "FRESH_S", 0.0)
    answers = iter((True, False, False, True))

    async def ask() -> None:
        if not next(answers):
            raise StoreUnavailable("away")

    look = BrokerLook(ask)
    seen = [(await look.answers(), look.away_since) for _ in range(4)]
    assert [answer for answer, _ in seen] == [True, False, False, True]
    before, first, again, after = (since for _, since in seen)
    assert (before, after) == (None, None) and first is not None and first == again

"""When the calls of a running shard begin."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workers.core.lanes import Go
from workers.core.messages import Call, InputLine, Item
from workers.engine.feeder import Feeder
from workers.engine.running import Running
from workers.engine.work import Answered, Work

pytestmark = pytest.mark.fast


async def test_a_call_begins_when_its_limit_says_however_long_the_writing_before_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, answer = [1000.0], cast(Answered, object())

    async def announce(*_: object) -> bool:
        now[0] += 30.0
        return True

    async def reserve(*_: object) -> list[Go]:
        return [Go(30.0)]

    async def make_call(*_: object) -> Answered:
        return answer

    monkeypatch.setattr("workers.engine.feeder.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("workers.engine.feeder.pipeline.make_call", make_call)
    lineup = SimpleNamespace(called={})
    running = SimpleNamespace(
        desk=SimpleNamespace(limits=SimpleNamespace(reserve=reserve, is_paused=lambda _: False)),
        held=SimpleNamespace(tenant="t"),
        link=object(),
        lineup=lineup,
        may_call=lambda: True,
        purse=None,
        started=0,
        stop=None,
        untold=set(),
        writes=SimpleNamespace(announce=announce),
    )
    feeder = Feeder(cast(Running, running), cast(Any, None), record=print, on_called=lambda _: None)
    work = Work(cast(Item, SimpleNamespace(line=1, length=9)), cast(InputLine, None), _call())
    assert await feeder._start([work]) == 1
    (task,) = lineup.called
    async with asyncio.timeout(1.0):
        assert await task is answer


def _call() -> Call:
    return cast(Call, SimpleNamespace(model="m", body={"max_tokens": 1}, endpoint="/v1/chat/completions"))

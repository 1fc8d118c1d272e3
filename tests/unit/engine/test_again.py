"""Further tries: what the run that has left no longer begins."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import cast

import pytest

from workers.core.errors import Overloaded
from workers.core.messages import Call, InputLine, Item
from workers.engine.again import Again
from workers.engine.lineup import Lineup
from workers.engine.running import Running
from workers.engine.work import Failed, Work

pytestmark = pytest.mark.fast


async def test_a_call_that_fails_after_its_run_has_left_begins_nothing() -> None:
    running = cast(Running, SimpleNamespace(lineup=Lineup(deque())))
    again = Again(running, answered=lambda *_: None, moves=lambda *_: None, fails=lambda *_: None)
    url = "/v1/chat/completions"
    work = Work(Item(1, 0, 1), InputLine("c", url, "m", {}), Call(url, "m", {}))
    again.leave()
    again.failed(work, Failed(Overloaded("503", provider="p"), 0.0))
    assert not running.lineup.deciding, "there is nobody to say what follows"

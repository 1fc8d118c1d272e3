"""How long an answer lives, by what was asked."""

from __future__ import annotations

import pytest

from config.settings import Settings
from workers.core.identity import EMBEDDINGS_ENDPOINT
from workers.core.ttl import ttl_s

CHAT = "/v1/chat/completions"
HOUR_S, DAY_S = 3_600, 86_400
RULES = Settings().cache


@pytest.mark.parametrize(
    ("endpoint", "task_type", "live", "lives_s"),
    [
        (CHAT, None, False, 7 * DAY_S),
        (CHAT, None, True, HOUR_S),
        (CHAT, "factual", False, 7 * DAY_S),
        (CHAT, "factual", True, HOUR_S),
        (CHAT, "conversation", False, HOUR_S),
        (CHAT, "grammar", True, DAY_S),
        (CHAT, "scenario", False, 2 * HOUR_S),
        (EMBEDDINGS_ENDPOINT, None, False, DAY_S),
        (EMBEDDINGS_ENDPOINT, "grammar", True, DAY_S),
        ("/v1/responses", None, False, 7 * DAY_S),
    ],
)
def test_what_is_asked_decides_before_who_asks(
    endpoint: str, task_type: str | None, live: bool, lives_s: int
) -> None:
    assert ttl_s(endpoint, task_type, live=live, rules=RULES) == lives_s

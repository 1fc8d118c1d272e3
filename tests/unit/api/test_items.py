"""One item of a batch, asked for at the moment when it is recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from app.api.items import MAX_CURSOR, _page, _place_in, _whole, beyond_of
from app.api.services import Services
from tests.support.api import answered
from workers.store.pending import Place

pytestmark = pytest.mark.fast


def test_an_item_that_is_recorded_between_the_two_looks_is_found() -> None:
    looks: list[Any] = [None, (answered(3), "b.000001")]
    behind = SimpleNamespace(
        looks=SimpleNamespace(one=lambda *_: looks.pop(0)),
        pending=SimpleNamespace(find=lambda *_: None, item=lambda *_: None),
        shards=SimpleNamespace(providers_of=lambda _: {"b.000001": "sim"}),
    )
    shown = _whole(cast("Services", behind), {"_id": "b", "input_file_id": "file-1", "tenant": "t"}, 3)
    assert shown is not None and (shown["status"], shown["provider"]) == ("completed", "sim")


def test_a_cursor_leads_into_a_shard_that_has_been_handed_on_and_split_as_often_as_can_be() -> None:
    # nine halvings of 500 items, and seven providers with long names
    name = ".000001" + ".123456789" * 9 + ".openai-compatible-in-house.123456789" * 7
    beyond = beyond_of(Place(f"b{name}", 1 << 32), "b")
    page = orjson.loads(bytes(_page([], beyond).body))
    assert len(page["next_cursor"]) <= MAX_CURSOR
    assert _place_in(page["next_cursor"], "b") == Place(f"b{name}", 1 << 32)

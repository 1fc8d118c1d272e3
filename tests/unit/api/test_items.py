"""One item of a batch, asked for at the moment when it is recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from pymongo.errors import ExecutionTimeout

from app.api.errors import ApiError
from app.api.items import MAX_CURSOR, _page, _place_in, _whole, beyond_of, items
from app.api.services import Services
from tests.support.api import answered
from workers.store.mongo import Db
from workers.store.pending import Place
from workers.store.result_looks import ResultLooks
from workers.store.results import Results

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


class Endless:
    """A collection in which every search takes too long."""

    def find(self, *_: Any, **__: Any) -> Endless:
        return self

    sort = limit = find

    def __iter__(self) -> Any:
        raise ExecutionTimeout("operation exceeded time limit")


async def test_a_search_that_passes_too_much_is_refused_and_not_to_be_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run(call: Any, *args: Any) -> Any:
        return call(*args)

    async def found(*_: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr("app.api.items.batch_of", found)
    db = cast("Db", {"batch_results": Endless()})
    behind = SimpleNamespace(run=run, looks=ResultLooks(db, cast("Results", None)))
    with pytest.raises(ApiError) as caught:
        await items("b", "t", cast("Services", behind), custom_id="nowhere")
    assert (caught.value.status, caught.value.code) == (400, "search_too_long")

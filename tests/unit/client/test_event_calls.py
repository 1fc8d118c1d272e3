"""Events as a client reads them: pieces of any size, connections that break anywhere, each entry once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.blocking import Client
from app.client.concurrent import AsyncClient
from app.client.errors import ApiRefused, ApiUnreachable
from app.client.event_calls import BatchEvent, EventReading
from app.client.locate import Place
from workers.core import events


def stream(last: int, seen: int, *, ended: bool) -> bytes:
    """What the server sends to a watcher who has seen up to `seen`."""
    log = [{"n": n, "at": 1.0, "type": "batch.paused", "data": {}} for n in range(1, last + 1)]
    if ended:
        log[-1]["type"] = "batch.completed"
    batch = {"created_at": 1.0, "status": "completed" if ended else "in_progress", "log": log}
    told = [events.entry_event("batch_1", each, {}) for each in events.unseen(events.entries_of(batch), seen)]
    progress = events.progress_event({"id": "batch_1"}, 1.0)
    return b"retry: 1000\n\n: awake\n\n" + b"".join(map(events.sse, [*told[:-1], progress, *told[-1:]]))


def fed(reading: EventReading, data: bytes, cuts: list[int]) -> list[BatchEvent]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [event for start, end in pairwise(places) for event in reading.feed(data[start:end])]


@given(
    last=st.integers(1, 6),
    breaks=st.lists(st.integers(0, 900), max_size=5),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
)
def test_entries_come_once_each_in_order_wherever_connections_break(
    last: int, breaks: list[int], cuts: list[int]
) -> None:
    reading = EventReading("batch_1", since=None, follow=True)
    got: list[BatchEvent] = []
    for at in [*breaks, 10_000]:
        seen = int(reading.headers.get("last-event-id", events.NOTHING))
        reading.began(200 if seen < last else 204)
        if not reading.over:
            got += fed(reading, stream(last, seen, ended=True)[:at], cuts)
    reading.ended()
    numbers = [event.n for event in got if event.n is not None]
    assert numbers == list(range(last + 1))
    assert reading.over
    assert got[-1].is_final


def test_a_server_that_ends_the_stream_before_the_batch_has_ended_is_asked_again_from_there() -> None:
    reading = EventReading("batch/1", since=None, follow=True)
    reading.began(200)
    list(reading.feed(stream(2, events.NOTHING, ended=False)))
    reading.ended()
    assert not reading.over
    assert reading.headers["last-event-id"] == "2"
    assert reading.path == "/v1/batches/batch%2F1/events"


def test_without_following_the_end_of_the_stream_is_the_end() -> None:
    reading = EventReading("batch_1", since=1, follow=False)
    reading.began(200)
    assert [event.n for event in reading.feed(stream(2, 1, ended=False))] == [None, 2]
    reading.ended()
    assert reading.over and reading.path.endswith("?follow=false")


def test_no_content_means_that_nothing_will_come() -> None:
    reading = EventReading("batch_1", since=3, follow=True)
    reading.began(204)
    assert reading.over


def test_a_server_is_asked_again_for_a_minute_but_not_if_it_was_never_there() -> None:
    reading = EventReading("batch_1", since=None, follow=True)
    assert not reading.may_come_back(5.0)
    reading = EventReading("batch_1", since=None, follow=True)
    reading.began(200)
    assert reading.may_come_back(1_000.0) and reading.may_come_back(1_060.0)
    assert not reading.may_come_back(1_060.5)
    reading.began(200)
    assert reading.may_come_back(2_000.0)


@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b"data: {}\n\n", b"data: []\n\n"])
def test_what_is_no_event_is_an_error(data: bytes) -> None:
    reading = EventReading("batch_1", since=None, follow=True)
    reading.began(200)
    with pytest.raises((ValueError, KeyError, TypeError)):
        list(reading.feed(data))


def test_lines_may_end_with_a_carriage_return() -> None:
    reading = EventReading("batch_1", since=None, follow=True)
    reading.began(200)
    sent: Any = stream(1, events.NOTHING, ended=True).replace(b"\n", b"\r\n")
    assert [event.n for event in reading.feed(sent)] == [0, None, 1]


class Restarting:
    """A server that stops in the middle of the log, is away for a moment, and is there again."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.replies = [
            httpx.Response(200, content=stream(1, events.NOTHING, ended=False)),
            httpx.Response(503, json={"error": {"message": "stopping"}}),
            httpx.Response(200, content=stream(3, 1, ended=True)),
        ]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("last-event-id"))
        return self.replies[len(self.asked) - 1]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before asking again."""
    for module in ("blocking", "concurrent"):
        monkeypatch.setattr(f"app.client.{module}.COME_BACK_S", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_both_clients_go_on_where_a_server_stopped_that_comes_back() -> None:
    for_one, for_other = Restarting(), Restarting()
    with Client(Place("http://server", None)) as client:
        client._http = httpx.Client(transport=httpx.MockTransport(for_one), base_url="http://server")
        got = [event.n for event in client.events("batch_1")]
    async with AsyncClient(Place("http://server", None)) as other:
        other._http = httpx.AsyncClient(transport=httpx.MockTransport(for_other), base_url="http://server")
        assert [event.n async for event in other.events("batch_1")] == got
    assert [n for n in got if n is not None] == [0, 1, 2, 3]
    assert for_one.asked == for_other.asked == [None, "1", "1"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (httpx.Response(404, json={"error": {"message": "No batch found"}}), ApiRefused),
        (httpx.Response(503, json={"error": {"message": "away"}}), ApiUnreachable),
        (httpx.Response(200, content=b"data: <html>\n\n"), ApiRefused),
    ],
)
def test_a_server_that_was_never_there_or_says_no_is_not_asked_again(
    reply: httpx.Response, error: Any
) -> None:
    with Client(Place("http://server", None)) as client:
        client._http = httpx.Client(transport=httpx.MockTransport(lambda _: reply), base_url="http://server")
        with pytest.raises(error):
            list(client.events("batch_1"))

"""Events over HTTP and over a WebSocket, on the shared API process: replay, following, ends, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from app.client.blocking import Client
from app.client.concurrent import AsyncClient
from app.client.locate import Place
from tests.support.api import Api, answered
from tests.support.eventually import eventually
from workers.core import states

pytestmark = pytest.mark.integration
COMPLETED = ["batch.created", "batch.in_progress", "batch.finalizing", "batch.completed"]


def as_tenant(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def ended(api: Api) -> str:
    """A batch that has completed."""
    batch_id = api.batch()
    api.work.complete(batch_id, [answered(1), answered(2)])
    return batch_id


def entries(reply: httpx.Response) -> list[tuple[str, int]]:
    """The entries of a stream that has ended, as its frames name them."""
    frames = [frame for frame in reply.text.split("\n\n") if frame.startswith("id: ")]
    return [(frame.split("event: ")[1].split("\n")[0], int(frame[4 : frame.index("\n")])) for frame in frames]


def test_an_ended_batch_is_told_whole_and_who_has_seen_its_end_gets_no_content(api: Api, ended: str) -> None:
    path = f"/v1/batches/{ended}/events"
    whole = api.call("GET", path)
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert (whole.headers["cache-control"], whole.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert entries(whole) == list(zip(COMPLETED, range(4), strict=True))
    final = json.loads(whole.text.strip().split("data: ")[-1])
    assert final["data"]["batch"] == api.call("GET", f"/v1/batches/{ended}").json()
    rest = api.call("GET", path, headers={"last-event-id": "1"})
    assert [n for _, n in entries(rest)] == [2, 3]
    assert [n for _, n in entries(api.call("GET", f"{path}?last_event_id=2"))] == [3]
    assert api.call("GET", path, headers={"last-event-id": "3"}).status_code == 204


def test_a_last_event_id_that_is_none_is_refused(api: Api, ended: str) -> None:
    path = f"/v1/batches/{ended}/events"
    for reply in (
        api.call("GET", path, headers={"last-event-id": "latest"}),
        api.call("GET", f"{path}?last_event_id=latest", headers={"last-event-id": "1"}),
    ):
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "last_event_id")


def test_another_tenants_batch_is_the_same_404_as_none(api: Api, ended: str) -> None:
    other = api.call("GET", f"/v1/batches/{ended}/events", headers=as_tenant(api.other_key))
    none = api.call("GET", "/v1/batches/batch_none/events")
    assert (other.status_code, none.status_code) == (404, 404)
    assert other.json()["error"]["message"] == none.json()["error"]["message"].replace("batch_none", ended)


def test_a_follower_hears_each_step_as_it_is_made(api: Api) -> None:
    batch_id = api.batch()
    heard: list[str] = []
    for event in _following(api, batch_id):
        heard.append(event)
        if event == "batch.created":
            api.work.start(batch_id, 1)
        elif event == "batch.in_progress":
            api.work.record(batch_id, [answered(1)])
            assert api.work.batches.finalize(batch_id)
        elif event == "batch.finalizing":
            api.work.end(batch_id, states.COMPLETE)
    assert [each for each in heard if each != "batch.progress"] == COMPLETED


def _following(api: Api, batch_id: str) -> Iterator[str]:
    with Client(Place(api.url, api.key)) as client:
        for event in client.events(batch_id):
            yield event.type


async def test_the_awaited_client_reads_the_same(api: Api, ended: str) -> None:
    async with AsyncClient(Place(api.url, api.key)) as client:
        assert [event.type async for event in client.events(ended, since=0)] == COMPLETED[1:]
        assert [event async for event in client.events(ended, since=3)] == []


def test_the_log_so_far_needs_no_waiting(api: Api) -> None:
    batch_id = api.batch()
    api.work.start(batch_id, 1)
    reply = api.call("GET", f"/v1/batches/{batch_id}/events?follow=false")
    assert entries(reply) == [("batch.created", 0), ("batch.in_progress", 1)]
    assert "event: batch.progress" in reply.text


# --- the WebSocket


def url(api: Api) -> str:
    return api.url.replace("http", "ws", 1) + "/v1/events"


async def said(socket: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next message of one of these types."""
    async with asyncio.timeout(10):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["type"] in kinds:
                return message


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def closed(socket: ClientConnection) -> int | None:
    """The code by which the server closes."""
    async with asyncio.timeout(10):
        await socket.wait_closed()
    return socket.close_code


async def test_a_socket_tells_of_the_batches_it_is_asked_for_and_of_none_of_another_tenant(
    api: Api, ended: str
) -> None:
    async with connect(url(api), additional_headers=as_tenant(api.key)) as socket:
        await said(socket, "authenticated")
        await send(socket, type="subscribe", batches=[ended, "batch_none"], last_event_ids={ended: 2})
        error = await said(socket, "error")
        assert error["error"]["message"] == "No batch found with id 'batch_none'."
        assert (await said(socket, "subscribed"))["batches"] == [ended]
        event = await said(socket, "batch.finalizing", "batch.completed")
        assert (event["type"], event["n"], event["data"]["id"]) == ("batch.completed", 3, ended)
        await send(socket, type="ping")
        await said(socket, "pong")
    async with connect(url(api), additional_headers=as_tenant(api.other_key)) as socket:
        await send(socket, type="subscribe", batches=[ended])
        error = await said(socket, "error")
        assert error["error"]["message"] == f"No batch found with id '{ended}'."


async def test_all_means_those_that_go_on_and_those_that_come(api: Api) -> None:
    before = await asyncio.to_thread(api.batch)
    async with connect(url(api), subprotocols=["batchwright", f"bearer.{api.key}"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "batchwright"
        await send(socket, type="subscribe", batches="all")
        heard = set()
        while before not in heard:
            heard.add((await said(socket, "batch.created"))["data"]["id"])
        after = await asyncio.to_thread(api.batch)
        while after not in heard:
            heard.add((await said(socket, "batch.created"))["data"]["id"])
        await asyncio.to_thread(api.work.batches.cancel, after)
        while (await said(socket, "batch.cancelling"))["data"]["id"] != after:
            pass


@pytest.mark.parametrize(
    ("first", "code"),
    [({"type": "auth", "key": "bw_wrong"}, 4401), ({"type": "subscribe", "batches": "all"}, 4400)],
)
async def test_who_says_no_right_key_is_told_so_and_sent_away(
    api: Api, first: dict[str, str], code: int
) -> None:
    async with connect(url(api)) as socket:
        await send(socket, **first)
        assert (await said(socket, "error"))["error"]["message"]
        assert await closed(socket) == code

    def told() -> bool:
        return f"path=/v1/events status={code} " in api.log_path.read_text()

    await asyncio.to_thread(eventually, told, 5.0)


async def test_nonsense_is_answered_and_too_much_of_it_ends_the_talk(api: Api) -> None:
    async with connect(url(api)) as socket:
        await send(socket, type="auth", key=api.key)
        await said(socket, "authenticated")
        for nonsense in (
            "{",
            "[]",
            '{"type": 3}',
            '{"type":"subscribe"}',
            '{"type":"subscribe","batches":[1]}',
        ):
            await socket.send(nonsense)
            assert (await said(socket, "error"))["error"]["type"] == "invalid_request_error"
        for _ in range(30):
            await send(socket, type="pong")
        assert await closed(socket) == 1008


async def test_a_message_that_is_too_long_ends_the_talk(api: Api) -> None:
    async with connect(url(api), additional_headers=as_tenant(api.key)) as socket:
        await send(socket, type="ping", more="x" * 65_536)
        assert await closed(socket) == 1009

"""The WebSocket `/v1/events`: the events of many batches over one connection, as JSON messages (docs/events.md).

A client says who it is (a header, a subprotocol, or its first message), then which batches it wants to hear of. The
events are those of events.py; what else the server says has a `type` as well: authenticated, subscribed, error, ping,
pong. Close codes are in `_CODES`; a refusal of the key closes with 4000 + the HTTP status it would have had.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field

from app.api.auth import CALLER, Caller, caller_of, key_in
from app.api.bodies import Strict
from app.api.door import check
from app.api.errors import ApiError, bad_request, no_such_batch, store_down
from app.api.event_hub import MAX_BATCHES, EventHub, key_check
from app.api.event_topic import STALL_S, Reason, Watcher, taken
from app.api.services import Services
from workers.core import events
from workers.store.mongo import STORE_TROUBLE

Doc = dict[str, Any]
PROTOCOL = "batchwright"
MAX_MESSAGE_BYTES = 64 * 1024
AUTH_WITHIN_S = 5.0
_KEY_PREFIX = "bearer."
_MINUTE_S = 60.0
# Batches whose logs are in memory together for a subscription.
_READ_AT_ONCE = 100
_CODES: dict[Reason, tuple[int, str]] = {
    "stopping": (1001, "the server is stopping; come back"),
    "chatty": (1008, "too many messages in a minute"),
    "oversized": (1009, "a message may have 65,536 bytes"),
    "failed": (1011, "a fault of the server; come back"),
    "stalled": (1013, "events were left lying"),
    "revoked": (4401, "the key does not act any more"),
}
router = APIRouter()
log = logging.getLogger("batchwright.api")

BatchIds = Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=MAX_BATCHES)]


class Auth(Strict):
    """The first message of a client that could send its key in no other way."""

    type: Literal["auth"]
    key: Annotated[str, Field(min_length=1, max_length=512)]


class Subscribe(Strict):
    """Which batches to hear of, and the last entry the client has of each."""

    type: Literal["subscribe"]
    batches: Literal["all"] | BatchIds
    last_event_ids: Annotated[
        dict[str, Annotated[int, Field(ge=0)]], Field(max_length=MAX_BATCHES, default_factory=dict)
    ]


class Tempo:
    """How many messages a minute a client may send. Pure: times are arguments."""

    def __init__(self, per_minute: int) -> None:
        self._at_s: deque[float] = deque(maxlen=per_minute)

    def allows(self, now_s: float) -> bool:
        """Whether one more may come now; it is counted."""
        is_full = len(self._at_s) == self._at_s.maxlen
        allowed = not is_full or now_s - self._at_s[0] >= _MINUTE_S
        self._at_s.append(now_s)
        return allowed


@router.websocket("/v1/events")
async def batch_events_socket(socket: WebSocket) -> None:
    """Talk to one client until either side ends it."""
    offered = socket.scope.get("subprotocols") or []
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    talk = _Talk(socket)
    try:
        await talk.hold(offered)
    except (_Left, WebSocketDisconnect):
        pass
    except TimeoutError:
        log.info("a WebSocket is closed: nobody reads it")
        await talk.close(*_CODES["stalled"])
    except Exception:
        log.exception("a WebSocket failed")
        await talk.close(*_CODES["failed"])


class _Left(Exception):
    """The client has gone."""


class _Talk:
    """One connection."""

    def __init__(self, socket: WebSocket) -> None:
        state = socket.app.state
        self._socket = socket
        self._services: Services = state.services
        self._hub: EventHub = state.hub
        self._keys = state.keys
        self._tempo = Tempo(state.services.settings.api.messages_per_minute)
        # Answers and events take turns.
        self._turn = asyncio.Lock()

    async def hold(self, offered: list[str]) -> None:
        """The whole talk. Raises _Left, and TimeoutError for a client that does not read."""
        try:
            key = self._key_sent(offered) or await self._key_said()
            caller = await self._caller(key)
            still_acts = key_check(self._keys, key, caller.tenant)
            watcher = self._hub.join(caller.tenant, still_acts, "websocket")
        except ApiError as error:
            await self._refuse(error)
            await self.close(4000 + error.status, str(error)[:100])
            return
        listening = asyncio.ensure_future(self._listen(watcher))
        try:
            await self._say({"type": "authenticated"})
            async for event in taken(watcher, until_over=False):
                await self._say(event if event is not None else {"type": "ping"})
            code = _CODES.get(watcher.ended or "left")
            if code is not None:
                await self.close(*code)
        finally:
            listening.cancel()
            self._hub.leave(watcher)

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye; to a client that has gone, nobody minds."""
        try:
            async with asyncio.timeout(1.0):
                await self._socket.close(code, reason)
        except (TimeoutError, RuntimeError):
            log.debug("a WebSocket was closed already")

    # --- who it is

    def _key_sent(self, offered: list[str]) -> str | None:
        """The key of the handshake; browsers can set no header, but subprotocols."""
        headers = self._socket.headers
        key = key_in(headers.get("authorization"), headers.get("x-api-key"))
        said = [each.removeprefix(_KEY_PREFIX) for each in offered if each.startswith(_KEY_PREFIX)]
        return key or next(iter(said), None)

    async def _key_said(self) -> str | None:
        """The key of the first message; None if none comes in time. Raises ApiError for another message."""
        try:
            async with asyncio.timeout(AUTH_WITHIN_S):
                data = await self._received()
        except TimeoutError:
            return None
        self._tempo.allows(time.monotonic())
        if len(data) > MAX_MESSAGE_BYTES:
            raise bad_request("The first message is too long to hold a key.")
        return check(Auth, _object(data)).key

    async def _caller(self, key: str | None) -> Caller:
        try:
            caller = self._socket.scope[CALLER] = await caller_of(self._keys, key)
        except STORE_TROUBLE:
            raise store_down() from None
        if "read" not in caller.scopes:
            text = "This API key may not do that: it lacks the scope 'read'."
            raise ApiError(403, text, code="insufficient_scope")
        return caller

    # --- what it says

    async def _listen(self, watcher: Watcher) -> None:
        """Answer messages until the client goes or goes too far."""
        try:
            while watcher.ended is None:
                data = await self._received()
                if not self._tempo.allows(time.monotonic()):
                    watcher.end("chatty")
                elif len(data) > MAX_MESSAGE_BYTES:
                    watcher.end("oversized")
                else:
                    await self._answer(watcher, data)
        except (_Left, WebSocketDisconnect):
            watcher.end("left")
        except TimeoutError:
            watcher.end("stalled")
        except Exception:
            # The talk must not go on half deaf, whatever it was.
            log.exception("a message of a WebSocket was not answered")
            watcher.end("failed")

    async def _answer(self, watcher: Watcher, data: bytes) -> None:
        try:
            message = _object(data)
            kind = message.get("type")
            if kind == "subscribe":
                await self._subscribe(watcher, check(Subscribe, message))
            elif kind == "ping":
                await self._say({"type": "pong"})
            elif kind != "pong":
                raise bad_request("A message has the type 'subscribe', 'ping' or 'pong'.", param="type")
        except ApiError as error:
            await self._refuse(error)
        except STORE_TROUBLE:
            await self._refuse(store_down())

    async def _subscribe(self, watcher: Watcher, wanted: Subscribe) -> None:
        """Let the client hear of these batches; it is told of each that is not there, and of the others in one go."""
        seen = {batch_id: str(n) for batch_id, n in wanted.last_event_ids.items()}
        named = list(dict.fromkeys(seen if wanted.batches == "all" else wanted.batches))
        if len(watcher.following.keys() | set(named)) > MAX_BATCHES:
            raise bad_request(f"One connection may follow {MAX_BATCHES:,} batches.", param="batches")
        found: dict[str, int] = {}
        for start in range(0, len(named), _READ_AT_ONCE):
            some = named[start : start + _READ_AT_ONCE]
            docs = await self._services.run(self._services.batches.get_many, some, watcher.tenant)
            for batch_id in some:
                if batch_id not in docs:
                    await self._refuse(no_such_batch(batch_id), batch_id)
                    continue
                try:
                    found[batch_id] = events.seen_from(seen.get(batch_id), docs[batch_id])
                except ValueError as error:
                    raise bad_request(f"Invalid event id: {error}.", param="last_event_ids") from None
        # First the answer, then the first event.
        await self._say({"type": "subscribed", "batches": "all" if wanted.batches == "all" else list(found)})
        for batch_id, last in found.items():
            if batch_id not in watcher.following:
                self._hub.follow(watcher, batch_id, last)
        if wanted.batches == "all":
            await self._hub.follow_all(watcher)

    async def _received(self) -> bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise _Left
        text = message.get("text")
        return text.encode("utf-8", "replace") if text is not None else message.get("bytes") or b""

    async def _refuse(self, error: ApiError, batch_id: str | None = None) -> None:
        said = {"message": str(error), "type": error.kind, "param": error.param, "code": error.code}
        about = {"id": batch_id} if batch_id is not None else {}
        await self._say({"type": "error", "error": said, **about})

    async def _say(self, message: Doc) -> None:
        async with asyncio.timeout(STALL_S), self._turn:
            await self._socket.send({"type": "websocket.send", "text": orjson.dumps(message).decode()})


def _object(data: bytes) -> Doc:
    """A message. Raises ApiError for what is no JSON object."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise bad_request("A message must be valid JSON.") from None
    if not isinstance(message, dict):
        raise bad_request("A message must be a JSON object.")
    return message

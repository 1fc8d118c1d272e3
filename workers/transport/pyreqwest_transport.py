"""The port over pyreqwest (hyper, in Rust). The only module that imports it.

A client of pyreqwest speaks HTTP/2 over one connection, so there are several. Facts this rests on (0.15, each with a
test of tests/contract/transport):

- Cancelling a task does not cancel a request that waits for the head of its answer, nor does closing its client: it
  goes on until its own time is over. So every request carries its deadline, and a client with 20 abandoned requests
  is retired. A body that is being read can be left at once: that resets its stream.
- With TLS each request of a new client makes a connection of its own until one of them has agreed on HTTP/2. So the
  first one gets a head start.
- A request that waits for an answer and runs out of time is called a connect timeout: only `client error (Connect)`
  among an error's causes means that no connection was made. When in doubt, bytes were sent.
- A body that is broken off by RST_STREAM with CANCEL or NO_ERROR, or by a close after GOAWAY, counts as whole for
  hyper. Where its length was announced it is checked here; where it was not, only its reader can tell.
- GOAWAY below a stream and REFUSED_STREAM are repeated by the client itself, twice, as nothing was done then.
- Without a buffer limit of 0 entering a streamed request waits for 64 KB of body.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BodyDecodeError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from workers.core.errors import BodyTooLarge, CallTimeout, TransportError
from workers.core.messages import HttpRequest, HttpResponse
from workers.transport.body_room import BodyRoom
from workers.transport.channels import Channel, Channels
from workers.transport.port import USER_AGENT, ClientStats, Streamed, TransportRules
from workers.transport.proxies import proxy_for

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

_Channel = Channel[Client]
_PROTOCOLS = {"HTTP/2.0": "HTTP/2"}
_MAX_KNOWN = 1_000
# A connection that dies without a word is found by a ping, not by the deadline of everything on it.
_PING_EVERY = timedelta(seconds=20)
_PING_LIMIT = timedelta(seconds=20)
_STREAM_WINDOW_BYTES = 1024 * 1024
# Two round trips and a handshake; answers of models take longer.
_HEAD_START_S = 0.3
_NO_CONNECTION = "client error (Connect)"
# hyper's words for a GOAWAY below the stream and for RST_STREAM with REFUSED_STREAM (RFC 9113, 8.7).
_NOT_PROCESSED = ("connection error received:", "stream error received: refused stream")


class PyreqwestTransport:
    """Several pyreqwest clients to one base URL, the least loaded one first."""

    def __init__(self, base_url: str, rules: TransportRules) -> None:
        """Connects when it is first used. Raises: OSError if `rules.ca_file` cannot be read."""
        self._base_url = base_url.rstrip("/")
        self._rules = rules
        self._proxy = proxy_for(base_url)
        self._authorities = rules.ca_file.read_bytes() if rules.ca_file else None
        self._limit = rules.max_body_bytes
        self._room = BodyRoom()
        # Parsing them costs more than looking them up; both are few for one provider.
        self._urls: dict[str, Url] = {}
        self._deadlines: dict[float, timedelta] = {}
        agrees = base_url.startswith("https:") and not rules.prior_knowledge
        head_start_s = _HEAD_START_S if agrees else 0.0
        self._channels: Channels[Client] = Channels(rules, self._new_client, _close, head_start_s)

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        """See the port."""
        channels = self._channels
        channel = await channels.take()
        try:
            with self._told(channel, f"no answer within {deadline_s:g} s"):
                wire = self._build(channel, request, deadline_s)
                response = await wire.__aenter__()
                self._answered(channel, request, response)
                headers = _headers_of(response)
                body = await self._read(response)
                if body is None:
                    await wire.__aexit__(None, None, None)  # resets what was not read
                    raise _too_large(self._limit)
                _check_whole(headers, len(body))
        finally:
            channels.give_back(channel)
        channels.tally.bytes_received += len(body)
        return HttpResponse(response.status, headers, body)

    async def _read(self, response: Response) -> bytes | None:
        """The body, decoded; None if it passes the bound."""
        reader, limit = response.body_reader, self._limit
        with self._room.holding() as held:
            size, parts = 0, []
            while (part := await reader.read(min(held.held_bytes - size, limit + 1 - size))) is not None:
                size += len(part)
                if size > limit:
                    return None
                parts.append(part)
                if size == held.held_bytes:
                    await held.cover(size + 1)
            return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    @asynccontextmanager
    async def stream(
        self, request: HttpRequest, *, deadline_s: float, idle_s: float
    ) -> AsyncIterator[Streamed]:
        """See the port."""
        channels = self._channels
        channel = await channels.take()
        try:
            with self._told(channel, f"no answer within {deadline_s:g} s"):
                wire = self._build(channel, request, deadline_s, unbuffered=True)
                response = await wire.__aenter__()
                self._answered(channel, request, response)
            told = partial(self._told, channel, "the answer paused or lasted too long")
            answer = _Answer(response, self._limit, idle_s, told)
            try:
                yield answer
            finally:
                channels.tally.bytes_received += answer.received
                await wire.__aexit__(None, None, None)
        finally:
            channels.give_back(channel)

    def room(self) -> int:
        """See the port."""
        return self._channels.room

    def stats(self) -> ClientStats:
        """See the port. pyreqwest does not say how many connections it has."""
        return self._channels.stats("pyreqwest", None, None)

    async def close(self) -> None:
        """Close every client."""
        await self._channels.close()

    def _new_client(self) -> Client:
        rules = self._rules
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .referer(False)
            .user_agent(USER_AGENT)
            .connect_timeout(timedelta(seconds=rules.connect_s))
            .pool_idle_timeout(timedelta(seconds=rules.keepalive_s))
            .http2_keep_alive_interval(_PING_EVERY)
            .http2_keep_alive_timeout(_PING_LIMIT)
            # What waits unread for room must not fill the connection's window: its neighbours would stand still.
            .http2_initial_stream_window_size(_STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(_STREAM_WINDOW_BYTES * (rules.streams_per_connection + 1))
            .no_proxy()
        )
        builder = builder.http2_prior_knowledge() if rules.prior_knowledge else builder.http2(True)
        if self._proxy is not None:
            builder = builder.proxy(ProxyBuilder.all(self._proxy))
        if self._authorities is not None:
            builder = builder.add_root_certificate_pem(self._authorities)
        return builder.build()

    def _build(
        self, channel: _Channel, request: HttpRequest, deadline_s: float, *, unbuffered: bool = False
    ) -> StreamRequest:
        url = self._urls.get(request.path)
        if url is None:
            url = _kept(self._urls, request.path, Url(self._base_url + request.path))
        deadline = self._deadlines.get(deadline_s)
        if deadline is None:
            deadline = _kept(self._deadlines, deadline_s, timedelta(seconds=max(deadline_s, 0.001)))
        builder = channel.client.request(request.method, url)
        builder = builder.headers(request.headers).body_bytes(request.body).timeout(deadline)
        if unbuffered:
            builder = builder.streamed_read_buffer_limit(0)
        return builder.build_streamed()

    def _answered(self, channel: _Channel, request: HttpRequest, response: Response) -> None:
        version = response.version
        self._channels.answered(channel, _PROTOCOLS.get(version, version))
        self._channels.tally.bytes_sent += len(request.body)

    @contextmanager
    def _told(self, channel: _Channel, late: str) -> Iterator[None]:
        """Raise what goes wrong inside in the port's words, and note what it says about the client."""
        failures = self._channels.tally.failures
        try:
            yield
        except asyncio.CancelledError:
            failures["cancelled"] += 1
            self._channels.abandon(channel)
            raise
        except TransportError as error:
            failures[type(error).__name__] += 1
            raise
        except ValueError as error:  # BuilderError is one; its words may hold a key
            failures["TransportError"] += 1
            text = f"cannot be sent: {type(error).__name__}"
            raise TransportError(text, bytes_sent=False) from None
        except (PyreqwestError, TimeoutError) as error:
            told = _in_our_words(error, late, self._base_url)
            failures[type(told).__name__] += 1
            raise told from error


class _Answer:
    """An answer that is still being read."""

    def __init__(
        self,
        response: Response,
        max_body_bytes: int,
        idle_s: float,
        told: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = _headers_of(response)
        self.received = 0
        self._reader = response.body_reader
        self._limit = max_body_bytes
        self._idle_s = idle_s
        self._told = told

    async def parts(self) -> AsyncIterator[bytes]:
        """See the port."""
        while True:
            with self._told():
                async with asyncio.timeout(self._idle_s):
                    part = await self._reader.read_chunk()
                if part is None:
                    _check_whole(self.headers, self.received)
                    return
                self.received += len(part)
                if self.received > self._limit:
                    raise _too_large(self._limit)
            yield bytes(part)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the answer passed {limit} bytes", bytes_sent=True)


def _check_whole(headers: Mapping[str, str], received: int) -> None:
    """hyper takes RST_STREAM with CANCEL or NO_ERROR, and a close after GOAWAY, for the end of the body."""
    announced = headers.get("content-length", "")  # not there where pyreqwest took compression off
    if announced.isdecimal() and int(announced) > received > 0:
        raise TransportError(f"the answer ended after {received} of {announced} bytes", bytes_sent=True)


def _headers_of(response: Response) -> dict[str, str]:
    pairs = list(response.headers.items())
    headers = dict(pairs)
    if len(headers) < len(pairs):
        headers = {name: ", ".join(value for key, value in pairs if key == name) for name in headers}
    return headers


def _kept(known: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> ValueT:
    """Keep it for the next request, within bounds."""
    if len(known) >= _MAX_KNOWN:
        known.clear()
    known[key] = value
    return value


def _in_our_words(error: PyreqwestError | TimeoutError, late: str, base_url: str) -> TransportError:
    if not isinstance(error, PyreqwestError):
        return CallTimeout(late, bytes_sent=True)
    details = error.args[1] if len(error.args) > 1 else {}
    causes = [str(cause["message"]) for cause in details.get("causes") or ()]
    # The first one names the whole URL, which may hold a key.
    words = f"{type(error).__name__}: {': '.join(causes[1:]) or 'no cause given'}"
    if _NO_CONNECTION in causes:
        return TransportError(f"cannot connect to {base_url}: {words}", bytes_sent=False)
    if isinstance(error, RequestTimeoutError):
        return CallTimeout(late, bytes_sent=True)
    if isinstance(error, BodyDecodeError) and not any("reading a body" in cause for cause in causes):
        return TransportError(f"the answer cannot be decompressed: {words}", bytes_sent=True)
    sent = not any(cause.startswith(_NOT_PROCESSED) for cause in causes)
    return TransportError(f"connection broke: {words}", bytes_sent=sent)


async def _close(client: Client) -> None:
    await client.close()


# Its threads may be within a call of Python when the last request is done: Python aborts (exit 134, seen in 2 of 20
# short processes) if it ends right then. They need a moment, closed clients or not.
atexit.register(time.sleep, 0.05)

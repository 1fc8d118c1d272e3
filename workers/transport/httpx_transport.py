"""The port over httpx with HTTP/2. The only module that imports httpx for provider traffic.

It uses httpx's connection layer (`AsyncHTTPTransport`), not its client: no redirects, no cookies, no `.netrc`, and
a quarter less CPU a call. httpx has habits that harm neighbours. mended_httpcore.py mends those of its HTTP/2
connection; guarded here is what remains: a read timeout fails every request of its connection, so there is none, but a
deadline around each request; at most `streams_per_connection` requests a client; and a client is retired after 20
abandoned requests, a local protocol error, or a deadline in which nothing at all came from it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import httpx

from workers.core.errors import BodyTooLarge, CallTimeout, TransportError
from workers.core.gunzip import BadCompression
from workers.core.messages import HttpRequest, HttpResponse
from workers.transport.body_room import BodyRoom
from workers.transport.channels import Channel, Channels
from workers.transport.counted_sockets import CountedSockets
from workers.transport.decoding import ACCEPTED, Decoder, decoder_for
from workers.transport.mended_httpcore import NotProcessed, mend_httpcore
from workers.transport.port import USER_AGENT, ClientStats, Streamed, TransportRules
from workers.transport.proxies import proxy_for

_Channel = Channel[httpx.AsyncHTTPTransport]
# As many as hyper makes: a server that is going down may say so on the next connection, too.
_FREE_REPEATS = 2
_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class HttpxTransport:
    """Several httpx clients to one base URL, the least loaded one first."""

    def __init__(self, base_url: str, rules: TransportRules) -> None:
        """Connects when it is first used. Raises: OSError, ssl.SSLError if `rules.ca_file` cannot be read."""
        mend_httpcore()
        self._base_url = base_url.rstrip("/")
        self._rules = rules
        self._verify = _trust(rules) if base_url.startswith("https:") else False
        self._proxy = proxy_for(base_url)
        self._sockets, self._room = CountedSockets(), BodyRoom()
        self._timeouts: dict[str, Any] = {
            "timeout": {
                "connect": rules.connect_s,
                "read": None,
                "write": rules.write_s,
                "pool": rules.pool_s,
            }
        }
        self._channels: Channels[httpx.AsyncHTTPTransport] = Channels(rules, self._new_client, _close)

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        """See the port."""
        channel = await self._channels.take()
        body = bytearray()
        try:
            with self._told(channel, f"no answer within {deadline_s:g} s"):
                async with asyncio.timeout(deadline_s):
                    response = await self._open(channel, request)
                    headers = _headers_of(response)
                    try:
                        await self._read(response, headers, body)
                    finally:
                        await response.stream.aclose()  # type: ignore[union-attr]
        finally:
            self._channels.give_back(channel)
            self._channels.tally.bytes_received += len(body)
        return HttpResponse(response.status_code, headers, bytes(body))

    @asynccontextmanager
    async def stream(
        self, request: HttpRequest, *, deadline_s: float, idle_s: float
    ) -> AsyncIterator[Streamed]:
        """See the port."""
        channel = await self._channels.take()
        ends_at = asyncio.get_running_loop().time() + deadline_s
        try:
            with self._told(channel, f"no answer within {deadline_s:g} s"):
                async with asyncio.timeout_at(ends_at):
                    response = await self._open(channel, request)
            told = partial(self._told, channel, "the answer paused or lasted too long")
            answer = _Answer(response, self._rules.max_body_bytes, ends_at, idle_s, told)
            try:
                yield answer
            finally:
                self._channels.tally.bytes_received += answer.received
                await answer.close()
                await response.stream.aclose()  # type: ignore[union-attr]
        finally:
            self._channels.give_back(channel)

    def room(self) -> int:
        """See the port."""
        return self._channels.room

    def stats(self) -> ClientStats:
        """See the port."""
        return self._channels.stats("httpx", self._sockets.open, self._sockets.opened)

    async def close(self) -> None:
        """Close every client."""
        await self._channels.close()

    def _new_client(self) -> httpx.AsyncHTTPTransport:
        rules = self._rules
        limits = httpx.Limits(
            max_connections=rules.max_connections,
            max_keepalive_connections=rules.max_connections,
            keepalive_expiry=rules.keepalive_s,
        )
        client = httpx.AsyncHTTPTransport(
            verify=self._verify,
            trust_env=False,
            http1=not rules.prior_knowledge,
            http2=True,
            limits=limits,
            proxy=self._proxy,
        )
        self._sockets.watch(client)
        return client

    async def _open(self, channel: _Channel, request: HttpRequest) -> httpx.Response:
        """Send it and wait for the head of the answer."""
        if any(mark in value for value in request.headers.values() for mark in "\r\n\0"):
            raise TransportError("cannot be sent: a header with a line break", bytes_sent=False)
        try:
            wire = httpx.Request(
                request.method,
                self._base_url + request.path,
                headers={"accept-encoding": ACCEPTED, "user-agent": USER_AGENT, **request.headers},
                content=request.body,
                extensions=self._timeouts,
            )
        except (httpx.InvalidURL, ValueError) as error:
            # Its words may hold a key.
            raise TransportError(f"cannot be sent: {type(error).__name__}", bytes_sent=False) from None
        response = await self._not_left_out(channel.client, wire)
        self._channels.tally.bytes_sent += len(request.body)
        self._channels.answered(channel, response.http_version)
        return response

    async def _not_left_out(self, client: httpx.AsyncHTTPTransport, wire: httpx.Request) -> httpx.Response:
        """Send it again at once where the server says that it did not look at it."""
        for _ in range(_FREE_REPEATS):
            try:
                return await client.handle_async_request(wire)
            except httpx.RemoteProtocolError as error:
                if not isinstance(error.__cause__, NotProcessed):
                    raise
        return await client.handle_async_request(wire)

    async def _read(self, response: httpx.Response, headers: Mapping[str, str], body: bytearray) -> None:
        limit = self._rules.max_body_bytes

        def put(part: bytes) -> None:
            body.extend(part)
            if len(body) > limit:
                raise _too_large(limit)

        decoder = _decoder(headers, put)
        feed = decoder.feed if decoder else put
        with self._room.holding() as held:
            async with aclosing(_parts_of(response)) as parts:
                async for part in parts:
                    feed(part)
                    if len(body) > held.held_bytes:
                        await held.cover(len(body))
        if decoder:
            decoder.finish()

    @contextmanager
    def _told(self, channel: _Channel, late: str) -> Iterator[None]:
        """Raise what goes wrong inside in the port's words, and note what it says about the client."""
        started_at = time.monotonic()
        failures = self._channels.tally.failures
        try:
            yield
        except asyncio.CancelledError:
            failures["cancelled"] += 1
            self._channels.abandon(channel)
            raise
        except TimeoutError as error:
            failures["CallTimeout"] += 1
            self._channels.abandon(channel)
            if channel.heard_at < started_at:
                self._channels.retire(channel)  # silent for a whole deadline: it may be dead
            raise CallTimeout(late, bytes_sent=True) from error
        except TransportError as error:
            failures[type(error).__name__] += 1
            raise
        except (httpx.HTTPError, BadCompression) as error:
            failures["TransportError"] += 1
            if isinstance(error, httpx.LocalProtocolError):
                self._channels.retire(channel)
            raise _in_our_words(error, self._base_url) from error


class _Answer:
    """An answer that is still being read."""

    def __init__(
        self,
        response: httpx.Response,
        max_body_bytes: int,
        ends_at: float,
        idle_s: float,
        told: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = _headers_of(response)
        self.received = 0
        self._wire = _parts_of(response)
        self._limit = max_body_bytes
        self._ends_at = ends_at
        self._idle_s = idle_s
        self._told = told
        self._parts: list[bytes] = []
        self._decoder = _decoder(self.headers, self._put)

    async def parts(self) -> AsyncIterator[bytes]:
        """See the port."""
        more = True
        while more:
            with self._told():
                more = await self._next()
            parts, self._parts = self._parts, []
            for part in parts:
                yield part

    async def close(self) -> None:
        """Nobody reads on."""
        await self._wire.aclose()

    async def _next(self) -> bool:
        now = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(min(self._ends_at, now + self._idle_s)):
            part = await anext(self._wire, None)
        if part is not None:
            (self._decoder.feed if self._decoder else self._put)(part)
        elif self._decoder:
            self._decoder.finish()
        return part is not None

    def _put(self, part: bytes) -> None:
        self.received += len(part)
        if self.received > self._limit:
            raise _too_large(self._limit)
        if part:
            self._parts.append(part)


async def _close(client: httpx.AsyncHTTPTransport) -> None:
    await client.aclose()


def _trust(rules: TransportRules) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if rules.ca_file is not None:
        context.load_verify_locations(rules.ca_file)
    return context


def _parts_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it is on the wire. httpx's own `aiter_raw` does the same with more ceremony."""
    return cast(AsyncGenerator[bytes, None], aiter(cast(httpx.AsyncByteStream, response.stream)))


def _headers_of(response: httpx.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _decoder(headers: Mapping[str, str], put: Callable[[bytes], None]) -> Decoder | None:
    encoding = headers.get("content-encoding")
    return decoder_for(encoding, put) if encoding else None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the answer passed {limit} bytes", bytes_sent=True)


def _in_our_words(error: httpx.HTTPError | BadCompression, base_url: str) -> TransportError:
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, BadCompression):
        return TransportError(f"the answer cannot be decompressed: {error}", bytes_sent=True)
    if isinstance(error, _NOTHING_SENT):
        return TransportError(f"cannot connect to {base_url}: {words}", bytes_sent=False)
    # Whatever else broke may have broken after the server read the request, unless it says that it did not.
    sent = not isinstance(error.__cause__, NotProcessed)
    return TransportError(f"connection broke: {words}", bytes_sent=sent)

"""httpx's connections (httpcore 1.0) with nine faults mended; httpx_transport.py puts them in.

What is wrong there, each shown by a test of tests/contract/transport against the hostile server. HTTP/2:

1. One stream reads the socket for all and the others stand in line for the reader's lock. A stream whose answer
   the reader has already fetched stays in line; when another one without an answer is before it, that one reads
   and blocks: two stuck streams hold back a finished third until anything else arrives. Here the reader wakes each
   stream it has read something for, and when it leaves it wakes one of those still waiting, which reads on.
2. A cancelled stream is never reset on the wire: the server works on, its stream counts against the connection's
   limit for ever, and bytes nobody reads use up the connection's window. Here it is reset and its bytes given back.
3. After a GOAWAY all streams fail, those too that the server still answers (RFC 9113, 6.8). Here they are read to
   the end, and those above the last stream fail with `NotProcessed`.
4. Without MAX_CONCURRENT_STREAMS in the server's SETTINGS only one stream at a time is used, though its absence
   means no limit; and a limit lowered while streams are open waits for them while holding the reader's lock.
5. Bytes that are no HTTP/2 lose the whole answers that came in the same read, and raise an error of another library.

6. A connection that the server closed while it was idle is used once more; that request then fails, and nobody knows
   whether it was worked on.

7. A new connection takes its places one by one before the first request, and yields after each: a request that is
   cancelled meanwhile leaves some of them free, and giving back the rest later raises a ValueError.

HTTP/1.1, and the last one in HTTP/2 as well:

8. What a server sends after the announced length is taken for the beginning of the next answer.
9. Writing to a TLS connection that the server has just closed raises an error of another library, anyio's EndOfStream.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any

import anyio
import h2.events
import h2.exceptions
import httpcore
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from httpcore._async import connection, http2, http11, http_proxy
from httpcore._backends import anyio as backend
from httpcore._synchronization import AsyncSemaphore

from workers.transport.patient_h2 import PatientState

_MENDS_VERSION = "1.0."
_RESET_LIMIT_S = 1.0
_OF_A_STREAM = (
    h2.events.ResponseReceived,
    h2.events.DataReceived,
    h2.events.StreamEnded,
    h2.events.StreamReset,
)


class NotProcessed(httpcore.RemoteProtocolError):
    """The server says that it has not worked on this request: asking again is free."""


def mend_httpcore() -> None:
    """Have httpcore use the mended connections, if it is the httpcore they were written for.

    httpcore looks the class of HTTP/2 up whenever it makes a connection, so this reaches proxied ones, too.
    """
    if httpcore.__version__.startswith(_MENDS_VERSION):
        http2.AsyncHTTP2Connection = MendedHttp2Connection  # type: ignore[misc]
        http2.AsyncSemaphore = _Places  # type: ignore[attr-defined]
        for module in (connection, http_proxy):
            module.AsyncHTTP11Connection = MendedHttp11Connection  # type: ignore[attr-defined]
        backend.AnyIOStream = MendedStream  # type: ignore[misc]


class MendedStream(backend.AnyIOStream):
    """See the module; what TLS is laid over is one of these as well."""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's name
        try:
            await super().write(buffer, timeout)
        except anyio.EndOfStream as error:
            raise httpcore.WriteError("the server has closed the connection") from error


class _Places(AsyncSemaphore):
    """A connection's places for streams; who takes a free one does not yield."""

    def setup(self) -> None:
        """See httpcore."""
        super().setup()
        self._anyio_semaphore = anyio.Semaphore(self._bound, max_value=self._bound, fast_acquire=True)


class MendedHttp2Connection(http2.AsyncHTTP2Connection):
    """See the module."""

    def __init__(
        self,
        origin: httpcore.Origin,
        stream: httpcore.AsyncNetworkStream,
        keepalive_expiry: float | None = None,
    ) -> None:
        super().__init__(origin, stream, keepalive_expiry)
        self._h2_state = PatientState(config=self.CONFIG)
        self._reader_there = False
        # Who waits for the reader, by stream; below 0: for the connection's window.
        self._asleep: dict[int, asyncio.Future[None]] = {}
        self._heard_settings = False
        self._held_back = False
        # Places taken back by lowered SETTINGS, still held by open streams.
        self._places_owed = 0

    def is_available(self) -> bool:
        """Whether it takes new requests."""
        return self._connection_terminated is None and super().is_available()

    def has_expired(self) -> bool:
        """Whether nothing should be sent on it any more."""
        if super().has_expired():
            return True
        # What comes while nobody asks is a goodbye, or the end of the connection itself.
        return self.is_idle() and bool(self._network_stream.get_extra_info("is_readable"))

    # A request in one write instead of three, and none where there is nothing to write: a third of a call's CPU.

    async def _write_outgoing_data(self, request: httpcore.Request) -> None:
        if not self._held_back and self._h2_state._data_to_send:  # noqa: SLF001
            await super()._write_outgoing_data(request)

    async def _send_request_headers(self, request: httpcore.Request, stream_id: int) -> None:
        # Nothing in here waits while writing is held back, so no other stream sees it.
        self._held_back = http2.has_body_headers(request)
        try:
            await super()._send_request_headers(request, stream_id)
        finally:
            self._held_back = False

    async def _send_stream_data(self, request: httpcore.Request, stream_id: int, data: bytes) -> None:
        window = self._h2_state.local_flow_control_window(stream_id)
        if len(data) <= min(window, self._h2_state.max_outbound_frame_size):
            self._h2_state.send_data(stream_id, data)  # goes out with the end of the stream
        else:
            await self._write_outgoing_data(request)  # a server may open the window when it sees the head
            await super()._send_stream_data(request, stream_id, data)

    async def _receive_stream_event(self, request: httpcore.Request, stream_id: int) -> Any:
        events = self._events[stream_id]
        while not events:
            await self._receive_events(request, stream_id)
        event = events.pop(0)
        if isinstance(event, h2.events.StreamReset):
            if event.error_code == ErrorCodes.REFUSED_STREAM:
                raise NotProcessed("the server refused the stream")
            raise httpcore.RemoteProtocolError(f"the server reset the stream: {event.error_code!r}")
        return event

    async def _receive_events(self, request: httpcore.Request, stream_id: int | None = None) -> None:
        """Read until there is something for this stream, or sleep while another one reads."""
        self._raise_if_left_out(stream_id)
        if self._reader_there:
            await self._sleep(stream_id)
            return
        self._reader_there = True
        try:
            while True:
                await self._take(request, await self._read_incoming_data(request))
                await self._write_outgoing_data(request)
                self._raise_if_left_out(stream_id)
                if stream_id is None or self._events[stream_id]:
                    return
        finally:
            self._reader_there = False
            self._wake_a_reader()

    def _raise_if_left_out(self, stream_id: int | None) -> None:
        goodbye = self._connection_terminated
        if goodbye is not None and stream_id is not None and stream_id > (goodbye.last_stream_id or 0):
            raise NotProcessed(f"the server said goodbye before this request: {goodbye.error_code!r}")

    async def _sleep(self, stream_id: int | None) -> None:
        place = min([0, *self._asleep]) - 1 if stream_id is None else stream_id
        self._asleep[place] = woken = asyncio.get_running_loop().create_future()
        try:
            await woken
        except asyncio.CancelledError:
            del self._asleep[place]
            if not self._reader_there:
                self._wake_a_reader()  # it may have been this one's turn
            raise
        del self._asleep[place]

    def _wake(self, places: Iterable[int]) -> None:
        for place in places:
            woken = self._asleep.get(place)
            if woken is not None and not woken.done():
                woken.set_result(None)

    def _wake_a_reader(self) -> None:
        for woken in self._asleep.values():
            if not woken.done():
                woken.set_result(None)
                return

    async def _read_incoming_data(self, request: httpcore.Request) -> list[h2.events.Event]:
        events = await super()._read_incoming_data(request)
        state = self._h2_state
        if isinstance(state, PatientState) and state.broken is not None:
            self._connection_error = True
            self._read_exception = httpcore.RemoteProtocolError(f"no HTTP/2: {state.broken}")
            if not events:
                raise self._read_exception
        return events

    async def _take(self, request: httpcore.Request, events: list[h2.events.Event]) -> None:
        touched: set[int] = set()
        for event in events:
            if isinstance(event, _OF_A_STREAM):
                if event.stream_id in self._events:
                    self._events[event.stream_id].append(event)
                    touched.add(event.stream_id)
                elif isinstance(event, h2.events.DataReceived):
                    self._give_back_window(event)
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                await self._receive_remote_settings_change(event)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self._connection_terminated = event
                touched.update(self._asleep)
        self._wake(touched)
        if self._asleep and min(self._asleep) < 0:
            self._wake([place for place in self._asleep if place < 0])

    def _give_back_window(self, event: h2.events.DataReceived) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2_state.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)

    async def _receive_remote_settings_change(self, event: h2.events.RemoteSettingsChanged) -> None:
        limit = self._h2_state.local_settings.max_concurrent_streams
        changed = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
        if changed is None and self._heard_settings:
            return
        self._heard_settings = True
        wanted = limit if changed is None else max(1, min(changed.new_value, limit))
        while self._max_streams < wanted:
            self._max_streams += 1
            await self._give_place()
        while self._max_streams > wanted:
            self._max_streams -= 1
            try:
                self._max_streams_semaphore._anyio_semaphore.acquire_nowait()  # noqa: SLF001
            except anyio.WouldBlock:
                self._places_owed += 1

    async def _give_place(self) -> None:
        if self._places_owed:
            self._places_owed -= 1
        else:
            await self._max_streams_semaphore.release()

    async def _response_closed(self, stream_id: int) -> None:
        await self._give_place()
        for event in self._events.pop(stream_id):
            if isinstance(event, h2.events.DataReceived):
                self._give_back_window(event)
        if not self._h2_state_ended(stream_id):
            await self._reset(stream_id)
        # As in httpcore: a connection without requests is idle, or closed where it has no future.
        async with self._state_lock:
            if self._state != http2.HTTPConnectionState.ACTIVE or self._events:
                return
            if self._connection_terminated or self._connection_error or self._used_all_stream_ids:
                await self.aclose()
                return
            self._state = http2.HTTPConnectionState.IDLE
            if self._keepalive_expiry is not None:
                self._expire_at = time.monotonic() + self._keepalive_expiry

    def _h2_state_ended(self, stream_id: int) -> bool:
        stream = self._h2_state.streams.get(stream_id)
        return stream is None or stream.closed or self._connection_error

    async def _reset(self, stream_id: int) -> None:
        """Tell the server that nobody waits for this answer any more."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2_state.reset_stream(stream_id, ErrorCodes.CANCEL)
        try:
            async with asyncio.timeout(_RESET_LIMIT_S), self._write_lock:
                await self._network_stream.write(self._h2_state.data_to_send(), _RESET_LIMIT_S)
        except (TimeoutError, httpcore.NetworkError, httpcore.TimeoutException):
            self._connection_error = True  # a connection that takes no frame takes no request either


class MendedHttp11Connection(http11.AsyncHTTP11Connection):
    """See the module."""

    async def _response_closed(self) -> None:
        if self._h11_state.trailing_data[0]:
            await self.aclose()
        else:
            await super()._response_closed()

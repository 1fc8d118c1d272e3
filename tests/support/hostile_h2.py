"""The hostile server's HTTP/2: what a request's path names is done to it.

Frames that h2 would not send (a GOAWAY after which work goes on, half a header block) are written by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame, HeadersFrame

from tests.support.hostile_bodies import bomb, endless

if TYPE_CHECKING:
    from tests.support.hostile import Port

Headers = list[tuple[str, str]]
OK_BODY = b'{"ok": true}'
_CONFIG = h2.config.H2Configuration(
    client_side=False,
    header_encoding="utf-8",
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_HOP_MS = 5


class Http2(asyncio.Protocol):
    """One connection."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.h2 = h2.connection.H2Connection(_CONFIG)
        self.requests: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, Iterator[bytes]] = {}
        self._rest: dict[int, bytes] = {}
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.port.open_connections.add(self)
        self.port.count("connections")
        settings = {SettingCodes.INITIAL_WINDOW_SIZE: 65_535, SettingCodes.ENABLE_PUSH: 0}
        if self.port.max_streams is not None:
            settings[SettingCodes.MAX_CONCURRENT_STREAMS] = self.port.max_streams
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.port.open_connections.discard(self)
        self._bodies.clear()
        self.port.count("closed")

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.pump()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.cut()
            return
        for event in events:
            self._take(event)
        self.flush()
        self.pump()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.requests[event.stream_id] = dict(event.headers or ())  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._bodies.pop(event.stream_id, None)
            self.port.count("resets")
        elif isinstance(event, h2.events.StreamEnded):
            path = self.requests[event.stream_id][":path"]
            self.port.count("requests")
            self.port.count(path)
            with contextlib.suppress(h2.exceptions.ProtocolError):  # the client has said goodbye meanwhile
                BEHAVIOURS[path](self, event.stream_id)

    def answer(
        self,
        stream: int,
        body: bytes | Iterator[bytes] = OK_BODY,
        headers: Headers | None = None,
        status: int = 200,
    ) -> None:
        """A whole answer; a long body follows as the client's window allows."""
        if stream not in self.h2.streams or self.h2.streams[stream].closed:
            return
        self.h2.send_headers(stream, [(":status", str(status)), *(headers or [])])
        self._bodies[stream] = iter([body]) if isinstance(body, bytes) else body
        self.flush()
        self.pump()

    def pump(self) -> None:
        """Send what may be sent of every body."""
        for stream in list(self._bodies):
            try:
                self._pump_one(stream)
            except h2.exceptions.ProtocolError:
                self._bodies.pop(stream, None)
        self.flush()

    def _pump_one(self, stream: int) -> None:
        while stream in self._bodies and not self._full:
            part = self._rest.pop(stream, b"") or next(self._bodies[stream], None)
            if part is None:
                del self._bodies[stream]
                self.h2.end_stream(stream)
                return
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self._rest[stream] = part
                return
            self._rest[stream] = part[room:]
            self.h2.send_data(stream, part[:room])
            self.port.count("body_bytes", min(room, len(part)))
            self.flush()

    def flush(self) -> None:
        """Write what h2 has ready."""
        if data := self.h2.data_to_send():
            self.transport.write(data)

    def cut(self) -> None:
        """Close the socket once what was written is out."""
        self.transport.close()

    def goaway(self, last_stream: int, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Say goodbye without h2's knowing, which would then send no more."""
        self.transport.write(GoAwayFrame(0, last_stream_id=last_stream, error_code=error).serialize())

    def later(self, what: Callable[[], None]) -> None:
        """In a segment of its own."""
        asyncio.get_running_loop().call_later(_HOP_MS / 1000, what)


def _ok(c: Http2, stream: int) -> None:
    c.answer(stream, headers=[("content-length", str(len(OK_BODY))), ("content-type", "application/json")])


def _echo(c: Http2, stream: int) -> None:
    c.answer(stream, json.dumps(c.requests[stream]).encode())


def _hang(c: Http2, stream: int) -> None:
    c.port.hold(lambda: _ok(c, stream))


def _stuck_body(c: Http2, stream: int) -> None:
    c.h2.send_headers(stream, [(":status", "200")])
    c.h2.send_data(stream, b"first part ")
    c.flush()

    def rest() -> None:
        c.h2.send_data(stream, b"second part", end_stream=True)
        c.flush()

    c.port.hold(rest)


def _goaway_below(c: Http2, stream: int) -> None:
    c.goaway(max(0, stream - 2))
    c.later(c.cut)


def _goaway_below_open(c: Http2, stream: int) -> None:
    c.goaway(max(0, stream - 2))


def _goaway_at(c: Http2, stream: int) -> None:
    c.goaway(stream)

    def rest() -> None:
        _ok(c, stream)
        c.later(c.cut)

    c.later(rest)


def _goaway_mid_body(c: Http2, stream: int) -> None:
    c.h2.send_headers(stream, [(":status", "200")])
    c.h2.send_data(stream, b"first part ")
    c.flush()
    c.goaway(stream)

    def rest() -> None:
        c.h2.send_data(stream, b"second part", end_stream=True)
        c.flush()
        c.later(c.cut)

    c.later(rest)


def _reset(error: ErrorCodes) -> Callable[[Http2, int], None]:
    def reset(c: Http2, stream: int) -> None:
        c.h2.reset_stream(stream, error)
        c.flush()

    return reset


def _close_mid_headers(c: Http2, stream: int) -> None:
    # A header block that goes on in a CONTINUATION which never comes.
    c.transport.write(HeadersFrame(stream, b"\x88").serialize())
    c.cut()


def _cut_short(ending: Callable[[Http2, int], None]) -> Callable[[Http2, int], None]:
    def cut_short(c: Http2, stream: int) -> None:
        c.h2.send_headers(stream, [(":status", "200"), ("content-length", "1000")])
        c.h2.send_data(stream, b"first part ")
        c.flush()
        c.later(lambda: ending(c, stream))

    return cut_short


def _say_why_and_close(c: Http2, stream: int) -> None:
    c.goaway(stream, ErrorCodes.INTERNAL_ERROR)
    c.cut()


def _say_goodbye_and_close(c: Http2, stream: int) -> None:
    c.goaway(stream)
    c.cut()


def _trailing_garbage(c: Http2, stream: int) -> None:
    _ok(c, stream)
    c.transport.write(b"\x00\x00\x04\xff garbage that is no frame \xff\xff" * 8)


def _big(c: Http2, stream: int) -> None:
    c.answer(stream, endless())


def _big_announced(c: Http2, stream: int) -> None:
    c.answer(stream, endless(), [("content-length", str(1 << 30))])


def _bomb(encoding: str) -> Callable[[Http2, int], None]:
    return lambda c, stream: c.answer(stream, bomb(encoding), [("content-encoding", encoding)])


def _redirect(c: Http2, stream: int) -> None:
    c.answer(stream, b"", [("location", "/ok"), ("set-cookie", "taste=sweet; Path=/")], status=302)


def _twice(c: Http2, stream: int) -> None:
    c.answer(stream, headers=[("x-twice", "one"), ("x-twice", "two")])


BEHAVIOURS: dict[str, Callable[[Http2, int], None]] = {
    "/ok": _ok,
    "/echo": _echo,
    "/hang": _hang,
    "/stuck-body": _stuck_body,
    "/goaway-below": _goaway_below,
    "/goaway-below-open": _goaway_below_open,
    "/goaway-at": _goaway_at,
    "/goaway-mid-body": _goaway_mid_body,
    "/error-mid-body": _cut_short(_say_why_and_close),
    "/refused": _reset(ErrorCodes.REFUSED_STREAM),
    "/reset": _reset(ErrorCodes.INTERNAL_ERROR),
    "/close": lambda c, _stream: c.cut(),
    "/close-mid-headers": _close_mid_headers,
    "/close-mid-body": _cut_short(lambda c, _stream: c.cut()),
    "/goodbye-mid-body": _cut_short(_say_goodbye_and_close),
    "/cancel-mid-body": _cut_short(_reset(ErrorCodes.CANCEL)),
    "/no-error-mid-body": _cut_short(_reset(ErrorCodes.NO_ERROR)),
    "/trailing-garbage": _trailing_garbage,
    "/big": _big,
    "/big-announced": _big_announced,
    **{f"/bomb-{encoding}": _bomb(encoding) for encoding in ("gzip", "br", "zstd")},
    "/redirect": _redirect,
    "/twice": _twice,
}

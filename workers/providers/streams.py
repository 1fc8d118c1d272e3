"""Cut a streamed answer into its events, whatever pieces the network brings it in. Pure.

Server-sent events as the HTML standard has them (9.2.6), and one JSON object a line (Ollama).
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PENDING_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; `event` is empty when the server gives it no name."""

    event: str
    data: bytes


class LineReader:
    """Bytes in, whole lines out, without their ends. Raises ValueError for a line without end."""

    def __init__(self) -> None:
        self._rest = bytearray()  # grows in place: a line of megabytes comes in a thousand pieces

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        first, *others = data.split(b"\n")
        self._rest += first
        lines: list[bytes] = []
        if others:
            lines = [bytes(self._rest), *others[:-1]]
            self._rest = bytearray(others[-1])
        if len(self._rest) > MAX_PENDING_BYTES:
            raise ValueError(f"a line of over {MAX_PENDING_BYTES} bytes")
        return [line.removesuffix(b"\r") for line in lines]

    def finish(self) -> list[bytes]:
        """What stands after the last line end."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [rest] if rest.strip() else []


class EventReader:
    """Bytes in, server-sent events out. Raises ValueError for an event without end."""

    def __init__(self) -> None:
        self._lines = LineReader()
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        return self._read(self._lines.feed(data))

    def finish(self) -> list[ServerEvent]:
        """An event whose blank line never came: some servers leave the last one out."""
        return self._read([*self._lines.finish(), b""])

    def _read(self, lines: list[bytes]) -> list[ServerEvent]:
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(ServerEvent(self._event, b"\n".join(self._data)))
                self._event, self._data, self._size = "", [], 0
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                self._data.append(value)
                self._size += len(value)
                if self._size > MAX_PENDING_BYTES:
                    raise ValueError(f"an event of over {MAX_PENDING_BYTES} bytes")
            elif field == b"event":
                self._event = value.decode("utf-8", "replace")
        return events

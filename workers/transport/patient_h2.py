"""h2's state of a client connection, which gives up later than h2's own. Part of mended_httpcore.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h2.connection
import h2.events
import h2.exceptions

if TYPE_CHECKING:
    from hyperframe.frame import Frame, GoAwayFrame


class PatientState(h2.connection.H2Connection):
    """h2 closes itself at a GOAWAY and drops what it had read when the next frame is none."""

    broken: h2.exceptions.ProtocolError | None = None

    def receive_data(self, data: Any) -> list[h2.events.Event]:
        """Every event up to the first frame that is none; then `broken` says what was wrong."""
        events: list[h2.events.Event] = []
        self.incoming_buffer.add_data(data)
        self.incoming_buffer.max_frame_size = self.max_inbound_frame_size
        try:
            for frame in self.incoming_buffer:
                events.extend(self._receive_frame(frame))
            # h2 would wait for the whole of a frame before it calls it too long.
            begun = self.incoming_buffer._data  # noqa: SLF001
            if len(begun) > 3 and int.from_bytes(begun[:3], "big") > self.max_inbound_frame_size:
                self.broken = h2.exceptions.FrameTooLargeError("a frame of a length that was not allowed")
        except h2.exceptions.ProtocolError as error:
            self.broken = error
        return events

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        return [], [event]

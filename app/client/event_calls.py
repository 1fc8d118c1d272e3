"""The events of a batch as a client reads them: server-sent events into values, and where to go on after a break. Pure.

`Client.events` and its awaited twin make the calls. The format is that of the HTML standard, 9.2.6; lines end as our
server ends them, by LF or CRLF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from workers.core.events import FINAL

# How long a lost server is asked for, and how often.
_AWAY_S = 60.0
COME_BACK_S = 1.0
_NO_CONTENT = 204


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """One thing that happened to a batch.

    Attributes:
        type: batch.in_progress, batch.completed, ...; `batch.progress` says how far it is; `log.gap` stands for
            entries that are not kept any more.
        n: the number of the log's entry; None for progress.
        created_at: Unix seconds.
        data: what belongs to it, with the batch's id; that of the end has the whole batch object as `batch`.
    """

    type: str
    n: int | None
    created_at: int
    data: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether the batch has ended by it."""
        return self.type in FINAL


class EventReading:
    """One reader of one batch's events, over as many connections as it takes.

    Attributes:
        over: there is nothing more to read.
    """

    def __init__(self, batch_id: str, *, since: int | None, follow: bool) -> None:
        self._batch_id, self._follow = batch_id, follow
        self._seen = since
        self._final = False
        self._was_there = False
        self._away_since_s: float | None = None
        self._rest = b""
        self._payload: list[bytes] = []
        self.over = False

    @property
    def path(self) -> str:
        """What to ask for."""
        path = f"/v1/batches/{quote(self._batch_id, safe='')}/events"
        return path if self._follow else f"{path}?follow=false"

    @property
    def headers(self) -> dict[str, str]:
        """How to ask, from where we are."""
        here = {} if self._seen is None else {"last-event-id": str(self._seen)}
        return {"accept": "text/event-stream", **here}

    def began(self, status: int) -> None:
        """The server answers."""
        self._was_there, self._away_since_s = True, None
        self._rest, self._payload = b"", []
        self.over = status == _NO_CONTENT

    def feed(self, chunk: bytes) -> Iterator[BatchEvent]:
        """The events that are whole by now; one that was there before, on an earlier connection, is left out."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._take(line.removesuffix(b"\r"))
            if event is None or (event.n is not None and self._seen is not None and event.n <= self._seen):
                continue
            if event.n is not None:
                self._seen = event.n
            self._final = self._final or event.is_final
            yield event

    def ended(self) -> None:
        """The server has ended the stream properly: after the end of the batch, or because it stops."""
        self.over = self.over or self._final or not self._follow

    def may_come_back(self, now_s: float) -> bool:
        """Whether to ask again after a lost connection: not where none was had, nor after a minute without one.

        `now_s`: any clock that does not jump.
        """
        if self._away_since_s is None:
            self._away_since_s = now_s
        return self._was_there and now_s - self._away_since_s <= _AWAY_S

    def _take(self, line: bytes) -> BatchEvent | None:
        """The event that ends with this line. Other fields than `data` say nothing that the data does not."""
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._payload.append(value.removeprefix(b" "))
            return None
        payload, self._payload = b"\n".join(self._payload), []
        return event_from(orjson.loads(payload)) if payload else None


def event_from(data: Mapping[str, Any]) -> BatchEvent:
    """Read an event. Raises KeyError, TypeError or ValueError for what is none."""
    n = data["n"]
    return BatchEvent(
        type=str(data["type"]),
        n=None if n is None else int(n),
        created_at=int(data["created_at"]),
        data=data["data"],
        raw=data,
    )

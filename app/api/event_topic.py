"""One batch that is watched, as it stands, and one client that watches: what has reached it, and what has not.

event_hub.py renews the topics; events.py and event_socket.py send what `Watcher.news` gives. A watcher holds numbers
and no events: however slow its reader is, it costs no memory, and what it has not taken yet is read from the topic,
which keeps what the log keeps.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workers.core import events
from workers.core.pace import Pace
from workers.core.states import is_terminal

Doc = dict[str, Any]
# `left`: the client has gone. `stopping`: the server ends. `revoked`: the key does not act any more. `failed`: a
# fault of ours. A WebSocket's client may also read nothing (`stalled`), or send too many messages (`chatty`), or too
# large ones.
Kind = Literal["sse", "websocket"]
Reason = Literal["left", "stopping", "revoked", "failed", "stalled", "chatty", "oversized"]
PROGRESS_EVERY_S = 1.0
# A batch that stands still is looked at less and less often; an entry in its log wakes it at once.
SLOWEST_LOOK_S = 3.0
STILL_S = 2.0
# Longer than this no client may leave an event lying; it comes back with the number of its last one.
STALL_S = 30.0
KEEP_AWAKE_S = 15.0
CHECK_EVERY_S = 20.0
# Batches that a watcher has seen the end of; what is written of one later reaches it without what it has seen.
_MAX_KNOWN = 1_000


class Topic:
    """A watched batch: its entries and progress as events, made once for all who watch it.

    Attributes:
        stale: set when there is something to look at.
        over: it has ended, or is not there any more; nothing will change.
        look_in_s: in how many seconds to look again if nothing wakes it.
    """

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self.watchers: set[Watcher] = set()
        self.stale = asyncio.Event()
        self.over = False
        self.progress: Doc | None = None
        self.progress_number = 0
        self.pace = Pace()
        self.waiting_for: Sequence[Mapping[str, Any]] = ()
        self.asked_why_s = float("-inf")
        self._entries: list[events.Entry] = []
        self._events: dict[int, Doc] = {}
        self._told_s = float("-inf")
        self._told: Doc | None = None
        self.look_in_s = PROGRESS_EVERY_S

    @property
    def last(self) -> int:
        """The number of its last entry; that of nothing before the first look."""
        return self._entries[-1].n if self._entries else events.NOTHING

    def saw(self, doc: Doc, shown: Doc, now_s: float, at: float) -> None:
        """Take in the batch as it is: its document and the batch object made of it.

        Args:
            now_s: a clock that does not jump.
            at: Unix seconds.
        """
        self._entries = events.entries_of(doc)
        self._events = {
            entry.n: self._events.get(entry.n) or events.entry_event(self.batch_id, entry, shown)
            for entry in self._entries
        }
        self.over = is_terminal(doc["status"])
        self.pace.look(now_s, shown["batchwright"]["recorded"])
        if self.pace.still_s < STILL_S:
            self.waiting_for = ()
        if not self.over:
            self._tell(events.progress_of(shown, self.pace, self.waiting_for), now_s, at)

    def _tell(self, data: Doc, now_s: float, at: float) -> None:
        """Make new progress of it if that is news, and once a second at most."""
        if not events.is_news(data, self._told):
            if self.pace.still_s >= STILL_S:
                self.look_in_s = min(SLOWEST_LOOK_S, self.look_in_s * 1.5)
            return
        self.look_in_s = PROGRESS_EVERY_S
        if now_s - self._told_s < PROGRESS_EVERY_S:
            return
        self._told, self._told_s = data, now_s
        self.progress = events.progress_event(data, at)
        self.progress_number += 1

    def after(self, seen: int) -> list[Doc]:
        """The events of the entries that such a watcher has not seen."""
        found = events.unseen(self._entries, seen)
        # A gap stands for what this watcher alone has lost; all others share theirs.
        return [
            events.entry_event(self.batch_id, entry, {})
            if entry.type == events.GAP
            else self._events[entry.n]
            for entry in found
        ]

    def wake(self) -> None:
        """Let all who watch look for news."""
        for watcher in self.watchers:
            watcher.awake.set()


@dataclass(slots=True)
class _Followed:
    topic: Topic
    seen: int
    progress_number: int = 0


@dataclass(eq=False, slots=True)
class Watcher:
    """One client and the batches it follows.

    Attributes:
        check: whether its key still acts for the tenant; asked now and then.
        kind: how it is told.
        awake: set when there may be news, or an end.
        ended: why it must stop; None while it goes on.
    """

    tenant: str
    check: Callable[[], Awaitable[bool]]
    kind: Kind = "sse"
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: Reason | None = None
    following: dict[str, _Followed] = field(default_factory=dict)
    known: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def follow(self, topic: Topic, seen: int) -> None:
        """Get news of this batch from the entry after `seen` on."""
        self.following[topic.batch_id] = _Followed(topic, seen)
        topic.watchers.add(self)
        self.awake.set()

    def must_stop(self) -> bool:
        """Whether it has been ended."""
        return self.ended is not None

    def end(self, reason: Reason) -> None:
        """Stop it; the first reason counts."""
        self.ended = self.ended or reason
        self.awake.set()

    def news(self) -> Iterator[Doc]:
        """What has not been taken yet, batch by batch: entries, then the progress. A batch that is over leaves."""
        for batch_id, each in list(self.following.items()):
            topic = each.topic
            for event in topic.after(each.seen):
                each.seen = event["n"]
                yield event
            if (
                topic.progress is not None
                and each.progress_number != topic.progress_number
                and not topic.over
            ):
                each.progress_number = topic.progress_number
                yield topic.progress
            if topic.over and each.seen >= topic.last and self.following.get(batch_id) is each:
                self._let_go(topic, each.seen)

    def _let_go(self, topic: Topic, seen: int) -> None:
        del self.following[topic.batch_id]
        topic.watchers.discard(self)
        self.known[topic.batch_id] = seen
        self.known.move_to_end(topic.batch_id)
        if len(self.known) > _MAX_KNOWN:
            self.known.popitem(last=False)


async def taken(
    watcher: Watcher,
    *,
    until_over: bool,
    keep_awake_s: float = KEEP_AWAKE_S,
    check_every_s: float = CHECK_EVERY_S,
) -> AsyncIterator[Doc | None]:
    """What a watcher is sent, as it comes; None where only the connection must be kept awake.

    Ends when the watcher must, and with `until_over` when all it follows is over.
    """
    check_at_s = time.monotonic() + check_every_s
    while not watcher.must_stop():
        watcher.awake.clear()
        for event in watcher.news():
            yield event
            if watcher.must_stop():
                return
        if until_over and not watcher.following:
            return
        try:
            async with asyncio.timeout(keep_awake_s):
                await watcher.awake.wait()
        except TimeoutError:
            yield None
        if time.monotonic() >= check_at_s:
            check_at_s = time.monotonic() + check_every_s
            if not await watcher.check():
                watcher.end("revoked")

"""Who watches which batch, and one look at MongoDB for all of them: a change stream a process.

events.py and event_socket.py `join` and `leave`. The stream (store/batch_watch.py) tells that a batch has news; its
topic is then read once and all who watch it are woken. Between news a running batch is looked at once a second for
its progress, from the sums that app/api/counts.py makes for everybody. While the stream is down, everything is looked
at each second. Nobody watches: no stream, no look. All of it happens on the loop but the stream itself, which has a
thread, since the driver blocks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from app.api.auth import KeyCache, caller_of
from app.api.counts import Counts
from app.api.errors import ApiError
from app.api.event_topic import STILL_S, Kind, Topic, Watcher
from app.api.operations import reasons
from app.api.services import Services
from workers.core import events
from workers.store.batch_watch import BatchWatch, Changed, Opened
from workers.store.mongo import STORE_TROUBLE

_LOOKS_AT_ONCE = 4
_ASK_WHY_EVERY_S = 5.0
_POLL_S = 1.0
# A stream is kept this long for the next who watches: opening one costs more than keeping it.
_IDLE_S = 30.0
MAX_BATCHES = 1_000
log = logging.getLogger("batchwright.api")


class EventHub:
    """Watchers and topics of this process. Every method is called on the loop.

    `poll_s`: how often everything is looked at while there is no stream.
    """

    def __init__(
        self, services: Services, counts: Counts, store: BatchWatch, *, poll_s: float = _POLL_S
    ) -> None:
        self._services, self._counts = services, counts
        self._store, self._poll_s = store, poll_s
        self._topics: dict[str, Topic] = {}
        self._watchers: set[Watcher] = set()
        self._of_tenant: Counter[str] = Counter()
        # Those that follow all batches of their tenant, with the newest they know of.
        self._all: dict[Watcher, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._stream: asyncio.Task[None] | None = None
        self._live = False
        services.streams_ended.set()

    # --- watchers

    @property
    def open(self) -> dict[str, int]:
        """How many streams are open now, by kind."""
        kinds = Counter(watcher.kind for watcher in self._watchers)
        return {kind: kinds[kind] for kind in ("sse", "websocket")}

    def join(self, tenant: str, check: Callable[[], Awaitable[bool]], kind: Kind = "sse") -> Watcher:
        """A new watcher, to be given back to `leave`. Raises ApiError 429 when there are too many."""
        api = self._services.settings.api
        if len(self._watchers) >= api.max_streams:
            raise _too_many("this server", api.max_streams, "max_streams")
        if self._of_tenant[tenant] >= api.max_streams_per_tenant:
            raise _too_many("your tenant", api.max_streams_per_tenant, "max_streams_per_tenant")
        watcher = Watcher(tenant, check, kind)
        self._watchers.add(watcher)
        self._services.streams_ended.clear()
        self._of_tenant[tenant] += 1
        if self._services.stopping.is_set():
            watcher.end("stopping")
        elif self._stream is None:
            self._stream = asyncio.create_task(self._keep_stream())
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._watchers.discard(watcher)
        self._all.pop(watcher, None)
        self._of_tenant[watcher.tenant] -= 1
        if not self._of_tenant[watcher.tenant]:
            del self._of_tenant[watcher.tenant]
        for each in watcher.following.values():
            each.topic.watchers.discard(watcher)
            each.topic.stale.set()  # a topic that nobody watches any more ends by it
        if not self._watchers:
            self._services.streams_ended.set()
            asyncio.get_running_loop().call_later(_IDLE_S, self._rest)

    def follow(self, watcher: Watcher, batch_id: str, seen: int) -> None:
        """Let a watcher have the news of a batch of its tenant's; the caller has seen that it is."""
        topic = self._topics.get(batch_id)
        if topic is None or topic.over:
            topic = self._topics[batch_id] = Topic(batch_id)
            self._start(self._renew(topic))
        watcher.follow(topic, seen)

    async def follow_all(self, watcher: Watcher) -> None:
        """Let it have the news of all its tenant's batches that go on, and of those that come."""
        self._all.setdefault(watcher, f"batch_{int(time.time() * 1000):012x}")
        await self._find_new(watcher)

    # --- topics

    async def _renew(self, topic: Topic) -> None:
        """Look at a batch whenever there may be news, while somebody watches and until it is over."""
        try:
            while True:
                topic.stale.clear()
                await self._look(topic)
                topic.wake()
                if topic.over or not topic.watchers:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(topic.look_in_s if self._live else self._poll_s):
                        await topic.stale.wait()
        except Exception:
            # Whatever it was, those who watch must not wait for ever: they come back, to a look that may go well.
            log.exception("%s: its watchers are sent away", topic.batch_id)
            for watcher in topic.watchers:
                watcher.end("failed")
        finally:
            if self._topics.get(topic.batch_id) is topic:
                del self._topics[topic.batch_id]

    async def _look(self, topic: Topic) -> None:
        try:
            async with self._looks:
                doc = await self._services.run(self._store.get, topic.batch_id)
                if doc is None:
                    topic.over = True
                    return
                shown = await self._counts.shown(doc)
                now_s = time.monotonic()
                topic.saw(doc, shown, now_s, time.time())
                is_still = not topic.over and topic.pace.still_s >= STILL_S
                if is_still and now_s - topic.asked_why_s >= _ASK_WHY_EVERY_S:
                    topic.asked_why_s = now_s
                    topic.waiting_for = await reasons(self._services, doc)
        except STORE_TROUBLE as error:
            log.warning("%s: not looked at: %s", topic.batch_id, type(error).__name__)

    # --- the change stream

    async def _keep_stream(self) -> None:
        """Have a stream open; while there is none, look at everything each second."""
        stopping = asyncio.ensure_future(self._services.stopping.wait())
        try:
            while not stopping.done():
                stop = threading.Event()
                reading = asyncio.ensure_future(self._read(stop))
                try:
                    while not reading.done() and not stopping.done():
                        await asyncio.wait(
                            {reading, stopping}, timeout=self._poll_s, return_when="FIRST_COMPLETED"
                        )
                        if not self._live:
                            self._look_at_all()
                finally:
                    stop.set()
                    self._live = False
                    reading.cancel()
                if not stopping.done():
                    await asyncio.wait({stopping}, timeout=self._poll_s)
        finally:
            stopping.cancel()
        for watcher in self._watchers:
            watcher.end("stopping")

    async def _read(self, stop: threading.Event) -> None:
        """Read one stream to its end, on a thread of its own: it would hold one of the handlers' for ever."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def tell(news: Opened | Changed) -> None:
            if not stop.is_set():
                self._hear(news)

        def read() -> None:
            try:
                for news in self._store.changes(stop.is_set):
                    loop.call_soon_threadsafe(tell, news)
            except STORE_TROUBLE as error:
                if not stop.is_set():
                    log.warning("the stream of changes broke off: %s", type(error).__name__)
            finally:
                with suppress(RuntimeError):  # the loop has ended before us
                    loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=read, name="batch-events", daemon=True).start()
        await ended.wait()

    def _hear(self, news: Opened | Changed) -> None:
        if isinstance(news, Opened):
            self._live = True
            self._look_at_all()
            return
        topic = self._topics.get(news.batch_id)
        if topic is not None:
            topic.stale.set()
        if self._all:
            self._start(self._tell_all(news))

    def _look_at_all(self) -> None:
        for topic in self._topics.values():
            topic.stale.set()
        for watcher in self._all:
            self._start(self._find_new(watcher))

    async def _tell_all(self, news: Changed) -> None:
        """Let those that follow all batches of its tenant follow this one, too."""
        with suppress(*STORE_TROUBLE):  # the next look at everything finds it
            tenant = news.tenant or await self._services.run(self._store.tenant_of, news.batch_id)
            for watcher in [each for each in self._all if each.tenant == tenant]:
                self._add(watcher, news.batch_id)

    async def _find_new(self, watcher: Watcher) -> None:
        with suppress(*STORE_TROUBLE):
            newest = self._all.get(watcher)
            if newest is None:
                return  # it has left before its turn came
            found = await self._services.run(self._store.going, watcher.tenant, newest, MAX_BATCHES)
            for batch_id in reversed(found):
                self._add(watcher, batch_id)

    def _add(self, watcher: Watcher, batch_id: str) -> None:
        if watcher in self._all and batch_id not in watcher.following:
            self._all[watcher] = max(self._all[watcher], batch_id)
            self.follow(watcher, batch_id, watcher.known.get(batch_id, events.NOTHING))

    def _rest(self) -> None:
        if not self._watchers and self._stream is not None:
            self._stream.cancel()
            self._stream = None

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def key_check(keys: KeyCache, key: str | None, tenant: str) -> Callable[[], Awaitable[bool]]:
    """A question for a watcher: whether its key still may read what this tenant has."""

    async def still_acts() -> bool:
        try:
            caller = await caller_of(keys, key)
        except ApiError:
            return False
        except STORE_TROUBLE:
            return True  # nobody knows; the next question tells
        return caller.tenant == tenant and "read" in caller.scopes

    return still_acts


def _too_many(whose: str, limit: int, setting: str) -> ApiError:
    name = f"api.{setting} (BATCHWRIGHT_API_{setting.upper()})"
    text = f"Too many open event streams: {whose} may have {limit:,}, set by {name}. Close one, or try again later."
    return ApiError(429, text, code="too_many_streams", headers={"retry-after": "5"})

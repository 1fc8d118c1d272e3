"""Our own engine in a bench: a real file, uploaded; a batch, created, planned and worked off; answers read back.

A lap's time is the database's: from the moment at which the batch was `in_progress` (planned, no shard
dispatched yet) to the moment at which it was `completed` (every result recorded and counted). In it lie
dispatch, claims, reading the lines, cache look-ups, flights, limits, calls and records; upload and plan do not.
CPU is the worker's over the same stretch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from pymongo.errors import PyMongoError

from app.bench.figures import Lap
from app.bench.others import Broken
from app.bench.peers.meters import cpu_s
from app.bench.prompts import ENDPOINT, Prompts
from app.bench.site import Site
from app.client.calls import BatchRequest
from workers.core.errors import UserError

_LOOK_S = 0.01
_STALLED_S = 60.0
_PLANNED_PER_S = 1000  # far less than any machine plans; nothing is recorded meanwhile
_ENDS = ("completed", "failed", "cancelled", "expired")


class Ours:
    """Our engine; `last_batch` is the batch of its last lap."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._file_id = ""
        self.last_batch = ""

    def miss(self, prompts: Prompts, count: int) -> Lap:
        """Answer `count` new prompts by calls. Raises Broken."""
        path = self._site.directory / "input.jsonl"
        with _broken_if_it_fails():
            with path.open("wb") as file:
                file.writelines(prompts.lines(count))
            self._file_id = self._site.client.upload(path).id
            path.unlink()
            return self._lap(prompts, count, source="call")

    def hit(self, prompts: Prompts, count: int) -> Lap:
        """Answer the file of the last `miss` again, from the cache. Raises Broken."""
        with _broken_if_it_fails():
            return self._lap(prompts, count, source="cache")

    def _lap(self, prompts: Prompts, count: int, *, source: str) -> Lap:
        request = BatchRequest(input_file_id=self._file_id, endpoint=ENDPOINT)
        self.last_batch = self._site.client.create_batch(request).id
        pid = self._site.worker_pid
        patience_s = _STALLED_S + count / _PLANNED_PER_S
        self._until(lambda batch: batch["status"] != "validating", patience_s)
        began_s = cpu_s([pid])
        batch = self._until(lambda batch: batch["status"] in _ENDS, patience_s)
        used_s = cpu_s([pid]) - began_s
        if batch["status"] != "completed":
            raise Broken(f"the batch ended as {batch['status']}: {str(batch.get('errors'))[:200]}")
        self._check(prompts, count, source)
        return Lap(count, batch["completed_at"] - batch["in_progress_at"], used_s)

    def _until(self, reached: Callable[[dict[str, Any]], bool], patience_s: float) -> dict[str, Any]:
        """Look at the batch until that holds; a batch in which nothing moves any more is given up."""
        moved_s, recorded = time.monotonic(), -1
        while True:
            batch: dict[str, Any] = self._site.db["batch_jobs"].find_one({"_id": self.last_batch})
            if reached(batch):
                return batch
            if time.monotonic() - moved_s > patience_s:
                now = self._recorded()
                if now == recorded:
                    raise Broken(
                        f"{batch['status']}, and nothing moved for {patience_s:.0f} s at {now} results; "
                        f"the worker said: {self._site.last_words()}"
                    )
                moved_s, recorded = time.monotonic(), now
            # The database tells nobody of a batch's end but whoever watches every write of it.
            time.sleep(_LOOK_S)

    def _recorded(self) -> int:
        return int(self._site.db["batch_results"].count_documents(results_of(self.last_batch)))

    def _check(self, prompts: Prompts, count: int, source: str) -> None:
        """Every answer is f(prompt), there is one for each prompt, and it came from where it should."""
        seen = elsewhere = 0
        for doc in self._site.db["batch_results"].find(results_of(self.last_batch), batch_size=2000):
            seen += 1
            number = int(doc["custom_id"])
            text = _text_of(doc["body"])
            if text != prompts.answer(number):
                raise Broken(f"answer {number} is {text[:80]!r}, not {prompts.answer(number)[:80]!r}")
            elsewhere += doc["source"] != source
        if seen != count:
            raise Broken(f"{seen} results of {count} items")
        if (
            elsewhere > count // 100
        ):  # the cache may evict a little; a lap of something else it must not become
            raise Broken(f"{elsewhere} of {count} answers did not come from a {source}")


@contextmanager
def _broken_if_it_fails() -> Iterator[None]:
    """A server that went away or a full disk ends our row; the others' go on if they can."""
    try:
        yield
    except (UserError, PyMongoError, OSError) as error:
        raise Broken(f"broke: {type(error).__name__}: {error}"[:300]) from error


def results_of(batch_id: str) -> dict[str, Any]:
    """The results of a batch, as a filter."""
    return {"_id": {"$gt": f"{batch_id}:", "$lt": f"{batch_id};"}}


def _text_of(body: bytes | None) -> str:
    try:
        return str(orjson.loads(body or b"")["choices"][0]["message"]["content"])
    except (ValueError, KeyError, IndexError, TypeError):
        return bytes(body or b"")[:200].decode(errors="replace")

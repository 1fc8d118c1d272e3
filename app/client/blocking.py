"""`Client`: the API's calls, one after the other. concurrent.py has the same names, awaited.

Nothing is decided here: calls.py says what to send, errors.py what a failure means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TypeVar

import httpx
import orjson

from app.client import after_calls, calls
from app.client.calls import BatchRequest, HttpCall
from app.client.connection import CHUNK_BYTES, EVENTS_TIMEOUT, UPLOAD_TIMEOUT, options, upload_parts
from app.client.errors import (
    ApiUnreachable,
    WaitTimeout,
    ceiling_reached,
    no_such_reply,
    refusal,
    unreachable,
)
from app.client.event_calls import COME_BACK_S, BatchEvent, EventReading
from app.client.jsonl import LineSplitter
from app.client.locate import Place
from app.client.models import BatchInfo, FileInfo, Page, Waiting, file_from
from app.client.transfer import whole_or_nothing

T = TypeVar("T")


class Client:
    """A connection to one server; close it, or use it in a `with`.

    Every method raises UserError: ApiUnreachable when there was no answer, ApiRefused when it was no.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._http = httpx.Client(**options(place))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def upload(self, source: Path | BinaryIO, *, filename: str | None = None) -> FileInfo:
        """Send an input file, streamed from disk. `filename` defaults to the file's own."""
        if isinstance(source, Path):
            with source.open("rb") as file:
                return self.upload(file, filename=filename or source.name)
        data, files = upload_parts(source, filename)
        try:
            response = self._http.post("/v1/files", data=data, files=files, timeout=UPLOAD_TIMEOUT)
        except httpx.TransportError as error:
            raise unreachable(error, self.place.url) from error
        return self._read(response, file_from)

    def create_batch(self, request: BatchRequest) -> BatchInfo:
        """Start a batch over an uploaded file."""
        return self.call(calls.create_batch(request))

    def get(self, batch_id: str) -> BatchInfo:
        """The batch as it is now."""
        return self.call(calls.get_batch(batch_id))

    def list(self, *, limit: int = 20, after: str | None = None, run_key: str | None = None) -> Page:
        """Batches, newest first, those older than `after`."""
        return self.call(calls.list_batches(limit=limit, after=after, run_key=run_key))

    def cancel(self, batch_id: str) -> BatchInfo:
        """End a batch; what is answered stays answered."""
        return self.call(calls.change_batch(batch_id, "cancel"))

    def pause(self, batch_id: str) -> BatchInfo:
        """Let a batch rest: no new call starts."""
        return self.call(calls.change_batch(batch_id, "pause"))

    def resume(self, batch_id: str, *, max_cost_usd: float | None = None) -> BatchInfo:
        """Let a paused batch go on; one that rests at its ceiling needs a higher one."""
        return self.call(calls.resume_batch(batch_id, max_cost_usd))

    def set_paused(
        self, kind: Literal["provider", "tenant"], name: str, *, paused: bool
    ) -> Mapping[str, Any]:
        """Let all calls to a provider, or of a tenant, rest or go on; says since when it rests, as the API does."""
        return self.call(calls.set_paused(kind, name, paused=paused))

    def why(self, batch_id: str) -> tuple[Waiting, ...]:
        """What the batch waits for; empty when it moves."""
        return self.call(calls.why(batch_id))

    def items(
        self, batch_id: str, *, status: str | None = None, after: int = 0, limit: int = 100
    ) -> Mapping[str, Any]:
        """What each recorded item took, as the API says it; `status`: completed or failed ones alone."""
        return self.call(after_calls.items(batch_id, status=status, after=after, limit=limit))

    def cached(
        self, endpoint: str, requests: Sequence[Mapping[str, Any]], *, model: str | None = None
    ) -> tuple[bool, ...]:
        """For each of up to 500 request bodies, whether its answer is cached; nothing is sent to a provider."""
        return self.call(calls.cached(endpoint, requests, model))

    def cache_stats(self) -> Mapping[str, Any]:
        """How the cache does, as the API says it; for keys of the first tenant."""
        return self.call(calls.cache_stats())

    def clear_cache(self, *, prefix: str | None = None, tenant: str | None = None) -> Mapping[str, Any]:
        """Forget answers: by the beginning of their keys, or one tenant's, or all. Says how many, if it knows."""
        return self.call(calls.clear_cache(prefix, tenant))

    def costs(self, days: int) -> Mapping[str, Any]:
        """What this key's batches of the last days took, by day and provider, as the API says it."""
        return self.call(calls.costs(days))

    def file(self, file_id: str) -> FileInfo:
        """What is known of a file."""
        return self.call(calls.get_file(file_id))

    def wait(
        self,
        batch_id: str,
        *,
        timeout_s: float | None = None,
        on_update: Callable[[BatchInfo], None] | None = None,
    ) -> BatchInfo:
        """Look until the batch has ended; `on_update` sees every look. Raises WaitTimeout, CeilingReached."""
        started_s = time.monotonic()
        while True:
            batch = self.get(batch_id)
            if on_update is not None:
                on_update(batch)
            waited_s = time.monotonic() - started_s
            if batch.ended:
                return batch
            if batch.at_ceiling:
                raise ceiling_reached(batch)
            if timeout_s is not None and waited_s >= timeout_s:
                raise WaitTimeout(
                    f"{batch_id} has not ended after {timeout_s:g} s", hint="it goes on; wait again"
                )
            time.sleep(calls.poll_delay_s(waited_s))

    def download(self, file_id: str, target: Path) -> int:
        """Write a file's bytes to `target`, which appears whole or not at all. Gives their number."""
        return self._save(calls.file_content_path(file_id), target)

    def download_partial(self, batch_id: str, which: str, target: Path) -> int:
        """Write the lines a running batch has so far; `which` is output or error."""
        return self._save(after_calls.output_path(batch_id, which, partial=True), target)

    def download_merged(self, batch_id: str, which: str, target: Path, *, partial: bool = False) -> int:
        """Write the lines of a batch and its retries as one, each once; before all have ended only if `partial`."""
        path = after_calls.output_path(batch_id, which, partial=partial, merge=True)
        return self._save(path, target)

    def lines(self, file_id: str) -> Iterator[bytes]:
        """The lines of a file as they arrive, in bounded memory."""
        splitter = LineSplitter()
        for chunk in self._stream(calls.file_content_path(file_id)):
            yield from splitter.feed(chunk)
        yield from splitter.finish()

    def events(self, batch_id: str, *, since: int | None = None, follow: bool = True) -> Iterator[BatchEvent]:
        """What happened to a batch after entry `since` of its log; with `follow` what happens, until it has ended.

        Entries come once each, in order, even when the server restarts meanwhile: it is asked again for a minute.
        """
        reading = EventReading(batch_id, since=since, follow=follow)
        while not reading.over:
            try:
                with self._http.stream(
                    "GET", reading.path, headers=reading.headers, timeout=EVENTS_TIMEOUT
                ) as response:
                    if response.is_error:
                        response.read()
                        raise refusal(response, self.place.url)
                    reading.began(response.status_code)
                    for chunk in response.iter_bytes():
                        yield from reading.feed(chunk)
                reading.ended()
            except (httpx.TransportError, ApiUnreachable) as error:
                if not reading.may_come_back(time.monotonic()):
                    if isinstance(error, ApiUnreachable):
                        raise
                    raise unreachable(error, self.place.url) from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise no_such_reply(self.place.url) from error
            if not reading.over:
                time.sleep(COME_BACK_S)

    def _save(self, path: str, target: Path) -> int:
        written = 0
        chunks = self._stream(path)
        with whole_or_nothing(target) as file:
            for chunk in chunks:
                written += file.write(chunk)
        return written

    def _stream(self, path: str) -> Iterator[bytes]:
        try:
            with self._http.stream("GET", path, headers={"accept": "application/binary"}) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response, self.place.url)
                yield from response.iter_bytes(CHUNK_BYTES)
        except httpx.TransportError as error:
            raise unreachable(error, self.place.url) from error

    def call(self, call: HttpCall[T]) -> T:
        """Make one call of calls.py; one that may be repeated is, when the connection is lost."""
        for delay_s in calls.RETRY_DELAYS_S if call.repeatable else ():
            try:
                return self._call_once(call)
            except ApiUnreachable:
                time.sleep(delay_s)
        return self._call_once(call)

    def _call_once(self, call: HttpCall[T]) -> T:
        try:
            response = self._http.request(
                call.method, call.path, params=call.params, content=call.content, headers=call.all_headers
            )
        except httpx.TransportError as error:
            raise unreachable(error, self.place.url) from error
        return self._read(response, call.read)

    def _read(self, response: httpx.Response, read: Callable[..., T]) -> T:
        if response.is_error:
            raise refusal(response, self.place.url)
        try:
            return read(orjson.loads(response.content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise no_such_reply(self.place.url) from error

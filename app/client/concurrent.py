"""`AsyncClient`: the calls of blocking.py under the same names, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
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


class AsyncClient:
    """A connection to one server; close it, or use it in an `async with`. Errors as in `Client`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._http = httpx.AsyncClient(**options(place))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def upload(self, source: Path | BinaryIO, *, filename: str | None = None) -> FileInfo:
        """Send an input file, streamed from disk. `filename` defaults to the file's own."""
        if isinstance(source, Path):
            with source.open("rb") as file:
                return await self.upload(file, filename=filename or source.name)
        data, files = upload_parts(source, filename)
        try:
            response = await self._http.post("/v1/files", data=data, files=files, timeout=UPLOAD_TIMEOUT)
        except httpx.TransportError as error:
            raise unreachable(error, self.place.url) from error
        return self._read(response, file_from)

    async def create_batch(self, request: BatchRequest) -> BatchInfo:
        """Start a batch over an uploaded file."""
        return await self.call(calls.create_batch(request))

    async def get(self, batch_id: str) -> BatchInfo:
        """The batch as it is now."""
        return await self.call(calls.get_batch(batch_id))

    async def list(self, *, limit: int = 20, after: str | None = None, run_key: str | None = None) -> Page:
        """Batches, newest first, those older than `after`."""
        return await self.call(calls.list_batches(limit=limit, after=after, run_key=run_key))

    async def cancel(self, batch_id: str) -> BatchInfo:
        """End a batch; what is answered stays answered."""
        return await self.call(calls.change_batch(batch_id, "cancel"))

    async def pause(self, batch_id: str) -> BatchInfo:
        """Let a batch rest: no new call starts."""
        return await self.call(calls.change_batch(batch_id, "pause"))

    async def resume(self, batch_id: str, *, max_cost_usd: float | None = None) -> BatchInfo:
        """Let a paused batch go on; one that rests at its ceiling needs a higher one."""
        return await self.call(calls.resume_batch(batch_id, max_cost_usd))

    async def set_paused(
        self, kind: Literal["provider", "tenant"], name: str, *, paused: bool
    ) -> Mapping[str, Any]:
        """Let all calls to a provider, or of a tenant, rest or go on; says since when it rests, as the API does."""
        return await self.call(calls.set_paused(kind, name, paused=paused))

    async def why(self, batch_id: str) -> tuple[Waiting, ...]:
        """What the batch waits for; empty when it moves."""
        return await self.call(calls.why(batch_id))

    async def items(
        self, batch_id: str, *, status: str | None = None, after: int = 0, limit: int = 100
    ) -> Mapping[str, Any]:
        """What each recorded item took, as the API says it; `status`: completed or failed ones alone."""
        return await self.call(after_calls.items(batch_id, status=status, after=after, limit=limit))

    async def cached(
        self, endpoint: str, requests: Sequence[Mapping[str, Any]], *, model: str | None = None
    ) -> tuple[bool, ...]:
        """For each of up to 500 request bodies, whether its answer is cached; nothing is sent to a provider."""
        return await self.call(calls.cached(endpoint, requests, model))

    async def cache_stats(self) -> Mapping[str, Any]:
        """How the cache does, as the API says it; for keys of the first tenant."""
        return await self.call(calls.cache_stats())

    async def clear_cache(self, *, prefix: str | None = None, tenant: str | None = None) -> Mapping[str, Any]:
        """Forget answers: by the beginning of their keys, or one tenant's, or all. Says how many, if it knows."""
        return await self.call(calls.clear_cache(prefix, tenant))

    async def costs(self, days: int) -> Mapping[str, Any]:
        """What this key's batches of the last days took, by day and provider, as the API says it."""
        return await self.call(calls.costs(days))

    async def file(self, file_id: str) -> FileInfo:
        """What is known of a file."""
        return await self.call(calls.get_file(file_id))

    async def wait(
        self,
        batch_id: str,
        *,
        timeout_s: float | None = None,
        on_update: Callable[[BatchInfo], None] | None = None,
    ) -> BatchInfo:
        """Look until the batch has ended; `on_update` sees every look. Raises WaitTimeout, CeilingReached."""
        started_s = time.monotonic()
        while True:
            batch = await self.get(batch_id)
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
            await asyncio.sleep(calls.poll_delay_s(waited_s))

    async def download(self, file_id: str, target: Path) -> int:
        """Write a file's bytes to `target`, which appears whole or not at all. Gives their number."""
        return await self._save(calls.file_content_path(file_id), target)

    async def download_partial(self, batch_id: str, which: str, target: Path) -> int:
        """Write the lines a running batch has so far; `which` is output or error."""
        return await self._save(after_calls.output_path(batch_id, which, partial=True), target)

    async def download_merged(self, batch_id: str, which: str, target: Path, *, partial: bool = False) -> int:
        """Write the lines of a batch and its retries as one, each once; before all have ended only if `partial`."""
        path = after_calls.output_path(batch_id, which, partial=partial, merge=True)
        return await self._save(path, target)

    async def lines(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """The lines of a file as they arrive, in bounded memory."""
        splitter = LineSplitter()
        async with aclosing(self._stream(calls.file_content_path(file_id))) as chunks:
            async for chunk in chunks:
                for line in splitter.feed(chunk):
                    yield line
        for line in splitter.finish():
            yield line

    async def events(
        self, batch_id: str, *, since: int | None = None, follow: bool = True
    ) -> AsyncGenerator[BatchEvent, None]:
        """What happened to a batch after entry `since` of its log; with `follow` what happens, until it has ended.

        Entries come once each, in order, even when the server restarts meanwhile: it is asked again for a minute.
        """
        reading = EventReading(batch_id, since=since, follow=follow)
        while not reading.over:
            try:
                async with self._http.stream(
                    "GET", reading.path, headers=reading.headers, timeout=EVENTS_TIMEOUT
                ) as response:
                    if response.is_error:
                        await response.aread()
                        raise refusal(response, self.place.url)
                    reading.began(response.status_code)
                    async for chunk in response.aiter_bytes():
                        for event in reading.feed(chunk):
                            yield event
                reading.ended()
            except (httpx.TransportError, ApiUnreachable) as error:
                if not reading.may_come_back(time.monotonic()):
                    if isinstance(error, ApiUnreachable):
                        raise
                    raise unreachable(error, self.place.url) from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise no_such_reply(self.place.url) from error
            if not reading.over:
                await asyncio.sleep(COME_BACK_S)

    async def _save(self, path: str, target: Path) -> int:
        written = 0
        with whole_or_nothing(target) as file:
            async with aclosing(self._stream(path)) as chunks:
                async for chunk in chunks:
                    written += file.write(chunk)
        return written

    async def _stream(self, path: str) -> AsyncGenerator[bytes, None]:
        try:
            async with self._http.stream("GET", path, headers={"accept": "application/binary"}) as response:
                if response.is_error:
                    await response.aread()
                    raise refusal(response, self.place.url)
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    yield chunk
        except httpx.TransportError as error:
            raise unreachable(error, self.place.url) from error

    async def call(self, call: HttpCall[T]) -> T:
        """Make one call of calls.py; one that may be repeated is, when the connection is lost."""
        for delay_s in calls.RETRY_DELAYS_S if call.repeatable else ():
            try:
                return await self._call_once(call)
            except ApiUnreachable:
                await asyncio.sleep(delay_s)
        return await self._call_once(call)

    async def _call_once(self, call: HttpCall[T]) -> T:
        try:
            response = await self._http.request(
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

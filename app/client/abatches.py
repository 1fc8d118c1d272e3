"""`asubmit` and `AsyncBatch`: batches.py under an event loop. `status` is awaited, `results` is iterated with
`async for`; all else has the same names and the same meaning.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from app.client import sources
from app.client.batches import connect, refuse_failed
from app.client.calls import BatchRequest
from app.client.concurrent import AsyncClient
from app.client.errors import ApiRefused
from app.client.jsonl import DEFAULT_ENDPOINT, Result, result_from
from app.client.models import BatchInfo, FileInfo
from app.client.sources import AsyncRequests
from workers.core.lines import custom_id_of


async def asubmit(  # noqa: PLR0913  keywords, one an option
    requests: AsyncRequests,
    *,
    endpoint: str | None = None,
    model: str | None = None,
    cache: bool = True,
    max_cost_usd: float | None = None,
    metadata: Mapping[str, str] | None = None,
    completion_window: str = "24h",
    api_url: str | None = None,
    api_key: str | None = None,
) -> AsyncBatch:
    """`submit`, awaited; `requests` may also be an asynchronous iterable."""
    client = AsyncClient(connect(api_url, api_key))
    try:
        uploaded, chosen = await _upload(client, requests, endpoint)
        request = BatchRequest(
            input_file_id=uploaded.id,
            endpoint=chosen,
            completion_window=completion_window,
            model=model,
            cache=cache,
            max_cost_usd=max_cost_usd,
            metadata=metadata,
            idempotency_key=secrets.token_hex(16),
        )
        return AsyncBatch(client, await client.create_batch(request))
    except BaseException:
        await client.close()
        raise


async def _upload(client: AsyncClient, requests: AsyncRequests, endpoint: str | None) -> tuple[FileInfo, str]:
    if isinstance(requests, AsyncIterable) and not sources.is_file(requests):
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as spool:
            chosen = endpoint or DEFAULT_ENDPOINT
            file = await sources.write_async(requests, chosen, cast("BinaryIO", spool))
            return await client.upload(file), chosen
    with sources.opened(cast("sources.Requests", requests), endpoint or DEFAULT_ENDPOINT) as file:
        chosen = sources.endpoint_for(file, endpoint)
        return await client.upload(file), chosen


class AsyncBatch:
    """A batch on the server; see `Batch`."""

    def __init__(self, client: AsyncClient, info: BatchInfo) -> None:
        self._client = client
        self.info = info

    @classmethod
    async def get(cls, batch_id: str, *, api_url: str | None = None, api_key: str | None = None) -> Self:
        """An existing batch by its id."""
        client = AsyncClient(connect(api_url, api_key))
        try:
            return cls(client, await client.get(batch_id))
        except BaseException:
            await client.close()
            raise

    @property
    def id(self) -> str:
        """The id, to find it again."""
        return self.info.id

    @property
    def status(self) -> Coroutine[Any, Any, str]:
        """The state it is in now: `await batch.status`."""
        return self._status()

    async def _status(self) -> str:
        if not self.info.ended:
            self.info = await self._client.get(self.id)
        return self.info.status

    async def wait(self, timeout_s: float | None = None) -> Self:
        """Return when it has ended. Raises WaitTimeout after `timeout_s` seconds; the batch goes on."""
        self.info = await self._client.wait(self.id, timeout_s=timeout_s)
        return self

    async def results(self) -> AsyncIterator[Result]:
        """Every answer and every final error, in input order; waits for the end first."""
        await self.wait()
        refuse_failed(self.info)
        output_id, error_id = self.info.output_file_id, self.info.error_file_id
        if output_id is None or error_id is None:
            async for result in self._results(output_id or error_id):
                yield result
            return
        async for result in self._merged(self._results(output_id), self._results(error_id)):
            yield result

    async def resume(self, *, max_cost_usd: float | None = None) -> Self:
        """Let it go on when it is paused; one that rests at its ceiling needs a higher one."""
        self.info = await self._client.resume(self.id, max_cost_usd=max_cost_usd)
        return self

    async def cancel(self) -> Self:
        """End it; what is answered stays answered."""
        self.info = await self._client.cancel(self.id)
        return self

    async def close(self) -> None:
        """Give the connection back; the batch goes on."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncBatch {self.id} {self.info.status} {self.info.done}/{self.info.total}>"

    async def _input_lines(self) -> AsyncIterator[bytes]:
        """The order of the results; without it (the input file was deleted) answers come before failures."""
        try:
            async for line in self._client.lines(self.info.input_file_id):
                yield line
        except ApiRefused as error:
            if error.status != 404:
                raise

    async def _results(self, file_id: str | None) -> AsyncIterator[Result]:
        if file_id is not None:
            async for line in self._client.lines(file_id):
                yield result_from(line)

    async def _merged(
        self, answers: AsyncIterator[Result], failures: AsyncIterator[Result]
    ) -> AsyncIterator[Result]:
        """jsonl.in_input_order over streams that are awaited."""
        answer, failure = await anext(answers, None), await anext(failures, None)
        async for line in self._input_lines():
            custom_id = custom_id_of(line)
            if answer is not None and answer.custom_id == custom_id:
                yield answer
                answer = await anext(answers, None)
            elif failure is not None and failure.custom_id == custom_id:
                yield failure
                failure = await anext(failures, None)
        for first, rest in ((answer, answers), (failure, failures)):
            if first is not None:
                yield first
            async for result in rest:
                yield result

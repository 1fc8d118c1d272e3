"""`submit` and `Batch`: what `import batchwright` gives to blocking Python programs.

abatches.py has the same names, awaited.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from app.client import sources
from app.client.blocking import Client
from app.client.calls import BatchRequest
from app.client.errors import ApiRefused
from app.client.jsonl import DEFAULT_ENDPOINT, Result, in_input_order, result_from
from app.client.locate import Place, locate
from app.client.models import BatchInfo
from app.client.sources import Requests
from workers.core.errors import UserError


def connect(url: str | None, key: str | None) -> Place:
    """The named server, else what the settings and the running stack say."""
    from config.settings import SettingsError, load_settings

    if url is not None:
        return Place(url.rstrip("/"), key)
    try:
        found = locate(load_settings())
    except SettingsError as error:
        raise UserError(str(error)) from error
    return Place(found.url, key or found.key)


def submit(  # noqa: PLR0913  keywords, one an option
    requests: Requests,
    *,
    endpoint: str | None = None,
    model: str | None = None,
    cache: bool = True,
    max_cost_usd: float | None = None,
    metadata: Mapping[str, str] | None = None,
    completion_window: str = "24h",
    api_url: str | None = None,
    api_key: str | None = None,
) -> Batch:
    """Hand over requests; returns as soon as the server has them.

    Args:
        requests: prompts, request bodies or whole input lines (any iterable of them, mixed as you like), the
            path of a JSONL file, or an open file.
        endpoint: such as /v1/embeddings; None is that of a file's first line, else /v1/chat/completions.
        model: answers every request, whatever model it names.
        cache: False asks all of them anew and remembers none of the answers.
        max_cost_usd: the ceiling for its calls; at it the batch rests until `resume` gives a higher one.
        api_url, api_key: the server; None is BATCHWRIGHT_API_URL and _API_KEY, else the stack running here.
    Raises: UserError, whose message and hint say what to do.
    """
    client = Client(connect(api_url, api_key))
    try:
        with sources.opened(requests, endpoint or DEFAULT_ENDPOINT) as file:
            chosen = sources.endpoint_for(file, endpoint)
            uploaded = client.upload(file)
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
        return Batch(client, client.create_batch(request))
    except BaseException:
        client.close()
        raise


class Batch:
    """A batch on the server. It goes on whether or not anybody holds this object.

    Get one from `submit`, or `Batch.get(id)` for one that was made elsewhere.
    """

    def __init__(self, client: Client, info: BatchInfo) -> None:
        self._client = client
        self.info = info

    @classmethod
    def get(cls, batch_id: str, *, api_url: str | None = None, api_key: str | None = None) -> Self:
        """An existing batch by its id."""
        client = Client(connect(api_url, api_key))
        try:
            return cls(client, client.get(batch_id))
        except BaseException:
            client.close()
            raise

    @property
    def id(self) -> str:
        """The id, to find it again."""
        return self.info.id

    @property
    def status(self) -> str:
        """The state it is in now; asks the server until the batch has ended."""
        if not self.info.ended:
            self.info = self._client.get(self.id)
        return self.info.status

    def wait(self, timeout_s: float | None = None) -> Self:
        """Block until it has ended. Raises WaitTimeout after `timeout_s` seconds; the batch goes on."""
        self.info = self._client.wait(self.id, timeout_s=timeout_s)
        return self

    def results(self) -> Iterator[Result]:
        """Every answer and every final error, in input order, as they arrive; waits for the end first.

        Raises: UserError if the batch was refused, with the first reason.
        """
        self.wait()
        refuse_failed(self.info)
        answers, failures = self._results(self.info.output_file_id), self._results(self.info.error_file_id)
        if self.info.output_file_id is None or self.info.error_file_id is None:
            yield from answers
            yield from failures
            return
        yield from in_input_order(self._input_lines(), answers, failures)

    def resume(self, *, max_cost_usd: float | None = None) -> Self:
        """Let it go on when it is paused; one that rests at its ceiling needs a higher one."""
        self.info = self._client.resume(self.id, max_cost_usd=max_cost_usd)
        return self

    def cancel(self) -> Self:
        """End it; what is answered stays answered."""
        self.info = self._client.cancel(self.id)
        return self

    def close(self) -> None:
        """Give the connection back; the batch goes on."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Batch {self.id} {self.info.status} {self.info.done}/{self.info.total}>"

    def _input_lines(self) -> Iterator[bytes]:
        """The order of the results; without it (the input file was deleted) answers come before failures."""
        try:
            yield from self._client.lines(self.info.input_file_id)
        except ApiRefused as error:
            if error.status != 404:
                raise

    def _results(self, file_id: str | None) -> Iterator[Result]:
        return map(result_from, self._client.lines(file_id)) if file_id else iter(())


def refuse_failed(info: BatchInfo) -> None:
    """Raise for a batch whose input was refused: it has no results."""
    if info.status != "failed":
        return
    if not info.problems:
        raise UserError(f"{info.id} was refused")
    first, more = info.problems[0], len(info.problems) - 1
    where = "".join(
        f"{part}: " for part in (f"line {first.line}" if first.line else None, first.param) if part
    )
    others = f" (and {more} more)" if more else ""
    raise UserError(
        f"{info.id} was refused: {where}{first.message}{others}", hint="mend the lines and submit again"
    )

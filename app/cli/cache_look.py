"""Ask a running stack which requests of a file it would answer from its cache, some hundred at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from app.client.errors import ApiRefused, ApiUnreachable
from workers.core.estimate import Counted, Estimator

if TYPE_CHECKING:
    from app.client.blocking import Client

_REQUESTS = 500
_BYTES = 2_000_000


class CacheLook:
    """`add` every request that was counted, then `finish`; the estimator hears of those that are cached."""

    def __init__(self, client: Client, estimator: Estimator, *, model: str | None) -> None:
        """`model` overrides every request's, as in the run that is estimated."""
        self._client, self._estimator, self._model = client, estimator, model
        self._waiting: list[tuple[Mapping[str, Any], Counted]] = []
        self._endpoint = ""
        self._bytes = 0
        self.answered = True  # until the server says otherwise: an estimate without its cache beats none

    def add(self, endpoint: str, body: Mapping[str, Any], counted: Counted) -> None:
        """One request; it may be asked for later, together with others."""
        size = len(orjson.dumps(body))
        full = len(self._waiting) >= _REQUESTS or self._bytes + size > _BYTES
        if full or endpoint != self._endpoint:
            self.finish()
        self._endpoint = endpoint
        self._waiting.append((body, counted))
        self._bytes += size

    def finish(self) -> None:
        """Ask for what is left."""
        if not self._waiting:
            return
        bodies = [body for body, _ in self._waiting]
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not self.answered:
            return
        try:
            there = self._client.cached(self._endpoint, bodies, model=self._model)
        except (ApiUnreachable, ApiRefused):
            self.answered = False
            return
        for (_, counted), is_cached in zip(waiting, there, strict=True):
            if is_cached:
                self._estimator.known(counted)

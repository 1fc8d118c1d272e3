"""The calls of those who watch: why a batch stands as it does, and what goes on at this moment. Pure.

Replies stay mappings: they are shown, and a newer server may say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from app.client.calls import HttpCall


def explain(batch_id: str) -> HttpCall[Mapping[str, Any]]:
    """GET /v1/batches/{id}/why, whole."""
    return HttpCall("GET", f"/v1/batches/{quote(batch_id, safe='')}/why", _with("waiting_for"))


def top() -> HttpCall[Mapping[str, Any]]:
    """GET /v1/top; not asked twice: who looks every second asks again anyhow."""
    return HttpCall("GET", "/v1/top", _with("batches"), repeatable=False)


def _with(name: str) -> Any:
    def read(data: Mapping[str, Any]) -> Mapping[str, Any]:
        data[name]  # what lacks it is no such reply: KeyError
        return data

    return read

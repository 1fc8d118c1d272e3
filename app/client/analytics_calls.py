"""The calls of /analytics: figures, errors and alerts of the whole installation. Pure.

Replies stay mappings: they are shown, and a newer server may say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.client.calls import HttpCall

Doc = Mapping[str, Any]


def stats(window: str) -> HttpCall[Doc]:
    """GET /analytics/stats."""
    return HttpCall("GET", "/analytics/stats", _with("endpoints"), {"window": window})


def errors(window: str, limit: int) -> HttpCall[Doc]:
    """GET /analytics/errors."""
    return HttpCall("GET", "/analytics/errors", _with("data"), {"window": window, "limit": str(limit)})


def alerts(state: str, limit: int) -> HttpCall[Doc]:
    """GET /analytics/alerts."""
    return HttpCall("GET", "/analytics/alerts", _with("data"), {"state": state, "limit": str(limit)})


def _with(name: str) -> Any:
    def read(data: Doc) -> Doc:
        data[name]  # what lacks it is no such reply: KeyError
        return data

    return read

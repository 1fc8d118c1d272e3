"""Calls about the installation as a whole, for its operator. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.client.calls import HttpCall

Reply = Mapping[str, Any]
_RELOAD = "/v1/admin/reload"


def ask_reload() -> HttpCall[Reply]:
    """POST /v1/admin/reload; repeatable, since settings that are read twice are the same."""
    return HttpCall("POST", _RELOAD, lambda data: data)


def last_reload() -> HttpCall[Reply]:
    """GET /v1/admin/reload."""
    return HttpCall("GET", _RELOAD, lambda data: data)

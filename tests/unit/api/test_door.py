"""The door: a body that takes its time is not waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from app.api import door
from app.api.errors import ApiError
from workers.store.tenants import LINGERS_S

pytestmark = pytest.mark.fast


async def test_a_body_that_comes_byte_by_byte_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    came = [b"{", b'"']

    async def receive() -> dict[str, Any]:
        if not came:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": came.pop(0), "more_body": True}

    monkeypatch.setattr(door, "BODY_WITHIN_S", 0.01)
    with pytest.raises(ApiError) as stalled:
        await door.read_body(Request({"type": "http", "headers": []}, receive))
    assert (stalled.value.status, stalled.value.code) == (408, "body_stalled")


def test_a_body_is_there_before_the_tenant_that_sends_it_can_be_gone() -> None:
    assert door.BODY_WITHIN_S + 10 < LINGERS_S

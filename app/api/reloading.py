"""`POST /v1/admin/reload`: every process of the installation reads its settings anew; `GET` says what each made of it.

The API that is asked reads its own first: where they are wrong nobody is asked, and nothing changes. The others hear
of it through MongoDB within two seconds, wherever they run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from fastapi import APIRouter, Response

from app.api.auth import Operator
from app.api.errors import ApiError
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes import Count, Shape
from app.api.spec import gives
from workers.store.reloads import Answer

router = APIRouter(prefix="/v1/admin", tags=["server"])


class ReloadOfProcess(Shape):
    """What one process made of its settings; with an `error` it goes by what it had."""

    process: str
    changed: list[str]
    needs_restart: list[str]
    error: str | None


class ReloadReply(Shape):
    """Who has read the settings anew; `waiting_for`: living workers that have not yet."""

    object: Literal["reload"]
    generation: Count
    processes: list[ReloadOfProcess]
    waiting_for: list[str]


@router.post("/reload", name="reload_settings", responses=gives(ReloadReply, 400))
async def reload(_: Operator, behind: Behind) -> Response:
    """Read limits, keys, models and prices of providers from the settings again, in every process.

    What takes a restart is named in the reply. Settings that cannot be read are a 400 that says why; nothing changes.
    """
    generation, own = await behind.reloaded.ask_all()
    if own.error is not None:
        text = f"The settings cannot be read, and nothing has changed: {own.error}"
        raise ApiError(400, text, code="invalid_settings")
    return json_reply(await _reply(behind, generation, [own]))


@router.get("/reload", name="describe_reload", responses=gives(ReloadReply))
async def last_reload(_: Operator, behind: Behind) -> Response:
    """What each process made of the last reload that was asked for; kept for a day."""
    generation, answers = await behind.reloaded.answers()
    return json_reply(await _reply(behind, generation, answers))


async def _reply(behind: Services, generation: int, answers: Iterable[Answer]) -> dict[str, Any]:
    processes = [
        {
            "process": answer.process,
            "changed": list(answer.changed),
            "needs_restart": list(answer.restart),
            "error": answer.error,
        }
        for answer in answers
    ]
    workers = await behind.run(behind.workers.owners) if generation else frozenset()
    waiting = sorted(workers - {each["process"] for each in processes})
    return {"object": "reload", "generation": generation, "processes": processes, "waiting_for": waiting}

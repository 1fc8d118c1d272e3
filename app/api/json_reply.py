"""JSON replies: one object, or one page of a list in the SDK's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response


def json_reply(value: Any) -> Response:
    """200 with this value."""
    return Response(orjson.dumps(value), media_type="application/json")


def secret_reply(value: Any) -> Response:
    """200 with a value that nobody on the way may keep: a key or a secret, shown this once."""
    reply = json_reply(value)
    reply.headers["cache-control"] = "no-store"
    return reply


def page_reply(data: Sequence[dict[str, Any]], *, has_more: bool) -> Response:
    """200 with one page; the SDK's cursor is the last object's id."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return json_reply(
        {"object": "list", "data": list(data), "first_id": first, "last_id": last, "has_more": has_more}
    )

"""A request that makes a batch makes one, however often it arrives: idempotency keys and the SDKs' blind repeats.

batches.py (create) and retrying.py (retry) hand over how it is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from fastapi import Request

from app.api.creation import request_hash
from app.api.door import refuse_key
from app.api.errors import bad_request, conflict
from app.api.services import Services

Doc = dict[str, Any]
# The SDK gives a create up after 600 s and sends it again blind; a little more lets that one find its batch.
REPLAY_WINDOW_S = 660.0
_MAX_KEY_CHARACTERS = 255
# Two equal requests of one tenant take turns, so that a replay waits for the first to become a batch.
_turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


async def made_once(
    behind: Services,
    request: Request,
    tenant: str,
    asked: str,
    key: str | None,
    make: Callable[[], Awaitable[Doc]],
) -> Doc:
    """The batch that an earlier sending of this request has made, or else what `make` gives.

    Args:
        asked: `hash_of` what is asked for; equal for equal requests alone.
        key: the idempotency key, as `idempotency_key` reads it.
    Raises: ApiError 409 for a key that was used for something else.
    """
    turn = _turns.setdefault((tenant, asked), asyncio.Lock())
    async with turn:
        earlier = await made_earlier(behind, request, tenant, key, asked)
        return earlier if earlier is not None else await make()


async def under_key(behind: Services, tenant: str, key: str | None, asked: str) -> Doc | None:
    """The batch made under this key, if there is one. Raises ApiError 409 if it was for another request."""
    doc = None if key is None else await behind.run(behind.batches.by_idempotency_key, tenant, key)
    if doc is not None and doc["request_hash"] != asked:
        raise conflict(
            f"This idempotency key was used for another request, which made {doc['_id']}.",
            param="idempotency_key",
            code="idempotency_key_reused",
        )
    return doc


def hash_of(body: Doc) -> str:
    """What a request asks for, as one name. Raises ApiError 400 for what cannot be written down."""
    try:
        return request_hash(body)
    except TypeError:  # what may be ignored may still be too deep to be written down
        raise bad_request("The body of your request is nested too deeply.") from None


def idempotency_key(request: Request, in_body: str | None) -> str | None:
    """The request's key; the header wins. Raises ApiError 400 for one that is too long."""
    key = request.headers.get("idempotency-key") or in_body
    if key is not None and len(key) > _MAX_KEY_CHARACTERS:
        text = f"The Idempotency-Key is longer than {_MAX_KEY_CHARACTERS} characters."
        raise bad_request(text, param="idempotency_key", code="string_above_max_length")
    refuse_key((key or "").encode("utf-8", "replace"), "idempotency_key")
    return key


async def made_earlier(
    behind: Services, request: Request, tenant: str, key: str | None, asked: str
) -> Doc | None:
    """What an earlier sending of this request has made, if it has made anything yet."""
    if key is not None:
        return await under_key(behind, tenant, key, asked)
    if _is_replay(request):
        return await behind.run(behind.batches.recent_twin, tenant, asked, time.time() - REPLAY_WINDOW_S)
    return None


def _is_replay(request: Request) -> bool:
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isascii() and count.isdigit() and int(count[:6]) > 0

"""One item: build its request, make the call, read the answer, say what the failure means."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from workers.core.errors import InternalFault, ProviderError, TransportError
from workers.core.identity import request_fingerprint
from workers.core.lines import EMBEDDINGS, check_line
from workers.core.messages import Call, InputLine, Item, ItemError, Reply, Result
from workers.core.price import cost_usd
from workers.core.rate import estimate_tokens
from workers.core.route import Offer, route
from workers.engine.ports import Link
from workers.engine.work import Answered, Failed, Work
from workers.store import keys

log = logging.getLogger(__name__)


def prepare(
    raw: bytes,
    item: Item,
    *,
    batch: Mapping[str, Any],
    link: Link,
    secret: bytes,
    generation: int,
) -> Work | Result:
    """Read an item's line again and make ready what its call needs.

    Gives a Result when the line cannot be read as it was planned, which only a changed file or store can cause.
    """
    options = batch["options"]
    line = check_line(raw, item.line, batch["endpoint"], model=options.get("model"))
    if not isinstance(line, InputLine):
        return Result(
            item.line,
            "",
            "none",
            error=ItemError(line.code, f"the stored line is unreadable: {line.message}"),
        )
    chosen = route(line.model, [Offer(link.name, ("*",))])
    call = Call(line.url, chosen.model if chosen else line.model, line.body)
    work = Work(item, line.custom_id, call, estimate_tokens(item.length, line.body))
    if options.get("cache", True):
        work.fingerprint = request_fingerprint(
            secret=secret,
            generation=generation,
            answers_as=link.answers_as,
            endpoint=line.url,
            model=call.model,
            body=line.body,
        )
        work.cache_key = keys.answer(link.name, line.url, work.fingerprint)
    return work


async def make_call(work: Work, link: Link) -> Answered | Failed:
    """One HTTP exchange for one item, read and sorted. Raises only CancelledError."""
    started = time.monotonic()
    try:
        request = link.adapter.build_request(work.call, link.api_key())
        response = await link.transport.send(request, deadline_s=link.deadline_s)
        if response.status >= 400:
            return Failed(link.adapter.parse_error(response), _since_ms(started))
        return Answered(link.adapter.parse_response(response), _since_ms(started))
    except (ProviderError, TransportError) as error:
        return Failed(error, _since_ms(started))
    except Exception:
        log.exception("a call of item %d broke inside the engine", work.item.line)
        return Failed(
            InternalFault("the engine failed on this request", provider=link.name), _since_ms(started)
        )


def answered(work: Work, outcome: Answered, link: Link) -> Result:
    """The result of an item whose own call was answered."""
    reply = outcome.reply
    return _of_reply(
        work, reply, "call", cost_usd(link.kind, work.call.model, reply.usage), outcome.latency_ms
    )


def cached(work: Work, reply: Reply) -> Result:
    """The result of an item whose answer was known already."""
    return _of_reply(work, reply, "cache", 0.0, 0.0)


def failed(work: Work, outcome: Failed) -> Result:
    """The final failure of an item: the provider's own words where it answered, ours where nothing came."""
    error = outcome.error
    base: dict[str, Any] = {
        "line": work.item.line,
        "custom_id": work.custom_id,
        "source": "call",
        "model": work.call.model,
        "calls": work.calls,
        "excess": work.excess,
        "latency_ms": outcome.latency_ms,
    }
    if isinstance(error, ProviderError) and error.status is not None and error.body is not None:
        return Result(status_code=error.status, body=error.body, request_id=error.request_id, **base)
    return Result(error=ItemError(error.code, error.message), **base)


def ttl_s(endpoint: str, *, answers_s: int, embeddings_s: int) -> int:
    """How long an answer of this endpoint is kept."""
    return embeddings_s if endpoint == EMBEDDINGS else answers_s


def _of_reply(work: Work, reply: Reply, source: Any, cost: float | None, latency_ms: float) -> Result:
    return Result(
        line=work.item.line,
        custom_id=work.custom_id,
        source=source,
        status_code=200,
        body=reply.body,
        request_id=reply.request_id,
        model=reply.model or work.call.model,
        usage=reply.usage,
        calls=work.calls,
        excess=work.excess,
        cost_usd=cost,
        latency_ms=latency_ms,
    )


def _since_ms(started: float) -> float:
    return (time.monotonic() - started) * 1000.0

"""One item: build its request, make the call, read the answer, say what the failure means."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.core import structured
from workers.core.choose import Chosen, call_of
from workers.core.errors import InternalFault, ProviderError, TransportError
from workers.core.identity import call_fingerprint
from workers.core.lines import check_line
from workers.core.messages import NO_USAGE, HttpResponse, InputLine, Item, ItemError, Reply, Result, Usage
from workers.core.retry import RetryRules
from workers.core.ttl import ttl_s
from workers.core.warming import lives_until_s
from workers.engine.ports import Link
from workers.engine.work import Answered, Failed, Work, sum_usd
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
    chosen: Chosen | None = None,
) -> Work | Result:
    """Read an item's line again and make ready what its call needs.

    Args:
        chosen: who answers an item that was handed over, in place of the one who would be chosen.
    Returns: a Result when the line cannot be read as it was planned, which only a changed file or store can cause.
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
    answers = chosen or link.chooser.choose(line.url, line.model, line.body)
    if not isinstance(answers, Chosen):
        # Settings have changed since the plan: the provider is still the one it was given to.
        answers = Chosen(link.name, line.model.removeprefix(f"{link.name}/"))
    call = call_of(line.url, line.body, answers, link.kind, link.chooser.catalog, link.options)
    work = Work(item, line, call, warnings=answers.warnings)
    if options.get("cache", True):
        work.fingerprint = call_fingerprint(
            call, secret=secret, generation=generation, answers_as=link.answers_as
        )
        work.cache_key = keys.answer(link.name, line.url, work.fingerprint)
        work.ttl_s = ttl_s(line.url, _task_type(line, link), live=False, rules=link.cache)
        if batch.get("warm"):
            work.warms, work.lives_until_s = True, lives_until_s(batch, work.ttl_s)
    return work


async def make_call(work: Work, link: Link) -> Answered | Failed:
    """One HTTP exchange for one item, read and sorted. Raises only CancelledError."""
    started = time.monotonic()
    call = work.again or work.call
    warnings: tuple[str, ...] = ()
    try:
        key = link.api_key()
        built = link.adapter.build_request(call, key)
        warnings = built.warnings
        response = await link.transport.send(built.request, deadline_s=link.deadline_s)
        if response.status >= 400:
            error = link.adapter.parse_error(_without_key(response, key))
            return Failed(error, _since_ms(started), warnings, response.headers)
        reply = link.adapter.parse_response(call, response)
        if warnings:
            reply = replace(reply, warnings=warnings + reply.warnings)
        cost_usd = link.cost_usd(call.model, reply.usage, reply.tier)
        return Answered(reply, _since_ms(started), cost_usd, response.headers)
    except (ProviderError, TransportError) as error:
        return Failed(error, _since_ms(started), warnings)
    except Exception:
        log.exception("a call of item %d broke inside the engine", work.item.line)
        fault = InternalFault("the engine failed on this request", provider=link.name)
        return Failed(fault, _since_ms(started), warnings)


def _without_key(response: HttpResponse, key: str | None) -> HttpResponse:
    """A server that repeats the key in its refusal must not put it into a tenant's error file."""
    if not key or key.encode() not in response.body:
        return response
    return replace(response, body=response.body.replace(key.encode(), b"[key]"))


def ask_again(work: Work, outcome: Answered, rules: RetryRules) -> structured.Mismatch | None:
    """Make the item ask again if the answer does not match its schema.

    Gives what is wrong when it does not match and may not be asked for again: then that is the item's result.
    """
    wrong = structured.mismatch(work.call, outcome.reply.body)
    if wrong is None:
        return None
    if wrong.cut_off or work.asks_again >= rules.max_asks_again:
        return wrong
    work.asks_again += 1
    work.spend(outcome.reply.usage, outcome.cost_usd)
    work.again = structured.asked_again(work.call, wrong)
    return None


def spend_on_failure(work: Work, outcome: Failed, link: Link) -> None:
    """Keep what a failed call was charged all the same, before the item is tried again."""
    charged = _charged(outcome)
    if charged:
        work.spend(charged, link.cost_usd(work.call.model, charged))


def answered(work: Work, outcome: Answered) -> Result:
    """The result of an item whose own call was answered, with all that was spent on the way to it."""
    return _of_reply(work, outcome.reply, "call", outcome.cost_usd, outcome.latency_ms)


def mismatched(work: Work, outcome: Answered, wrong: structured.Mismatch) -> Result:
    """The final failure of an item whose answers never matched its schema: the last one stands beside the error."""
    times = "once" if not work.asks_again else f"{work.asks_again + 1} times"
    why = "cut off by its output cap; " if wrong.cut_off else ""
    text = f"the reply does not match the schema at {wrong} ({why}asked {times})"
    return replace(answered(work, outcome), error=ItemError("schema_mismatch", text))


def cached(work: Work, reply: Reply, link: Link) -> Result:
    """The result of an item whose answer was known already; what it had spent itself by then stays its own."""
    saved_usd = link.cost_usd(work.call.model, reply.usage, reply.tier)
    return replace(_of_reply(work, reply, "cache", 0.0, 0.0), saved_usd=saved_usd)


def failed(work: Work, outcome: Failed, link: Link) -> Result:
    """The final failure of an item: the provider's own words where it answered, ours where nothing came."""
    error = outcome.error
    charged = _charged(outcome)
    base: dict[str, Any] = {
        "line": work.item.line,
        "custom_id": work.custom_id,
        "source": "call",
        "model": work.call.model,
        "calls": work.calls,
        "excess": work.excess,
        "latency_ms": outcome.latency_ms,
        "asks_again": work.asks_again,
        "usage": work.spent + charged if charged else work.spent,
        "cost_usd": sum_usd(work.spent_usd, link.cost_usd(work.call.model, charged) if charged else 0.0),
        "warnings": work.warnings + outcome.warnings,
        "attempts": work.attempts,
        "waited_s": work.waited_s,
    }
    refused = isinstance(error, ProviderError) and error.status is not None and error.status >= 400
    if isinstance(error, ProviderError) and refused and error.body is not None:
        return Result(status_code=error.status, body=error.body, request_id=error.request_id, **base)
    return Result(error=ItemError(error.code, error.message), **base)


def _of_reply(work: Work, reply: Reply, source: Any, cost: float | None, latency_ms: float) -> Result:
    return Result(
        line=work.item.line,
        custom_id=work.custom_id,
        source=source,
        status_code=200,
        body=reply.body,
        request_id=reply.request_id,
        model=reply.model or work.call.model,
        usage=reply.usage if work.spent is NO_USAGE else work.spent + reply.usage,
        calls=work.calls,
        excess=work.excess,
        asks_again=work.asks_again,
        cost_usd=sum_usd(work.spent_usd, cost),
        latency_ms=latency_ms,
        warnings=work.warnings + reply.warnings,
        attempts=work.attempts,
        waited_s=work.waited_s,
    )


def _task_type(line: InputLine, link: Link) -> str | None:
    named = line.body.get("task_type")
    found = link.chooser.catalog.task_type(named) if isinstance(named, str) else None
    return found.name if found else None


def _charged(outcome: Failed) -> Usage | None:
    return outcome.error.usage if isinstance(outcome.error, ProviderError) else None


def _since_ms(started: float) -> float:
    return (time.monotonic() - started) * 1000.0

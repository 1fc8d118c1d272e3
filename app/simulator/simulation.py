"""One call decided, start to end: key, body, limits, fault, latency, answer. No sockets, no sleeping.

server.py hands in the bytes and the time and carries the returned `Plan` out; the dialect of the request (see
dialect.py) reads, answers and words everything. What lasts between calls stands in `Simulation` alone: two
meters, the prompt cache, the loaded models, the counts of `times=` faults, and the seeded draws.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from blake3 import blake3

from app.simulator.config import Latency, SimulatorConfig
from app.simulator.dialect import JSON, SSE, Dialect, Inbound, LimitHit, Reply, Stamp, Terms, Work
from app.simulator.dialects import dialect_of
from app.simulator.errors import ApiError
from app.simulator.faults import Fault, FaultError, marker_in, parse_fault
from app.simulator.limits import Headers, Limit, Meter
from app.simulator.loading import Models
from app.simulator.promptcache import PromptCache

_PAID = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens")
_MAX_COUNTED_PROMPTS = 100_000  # of those with times=; the one unused longest is forgotten first
_HTML = (
    b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one request: wait `delay_s`, then send, or never answer (`hang`).

    `headers` begin with the content type. What is no call (`is_call`) is sent and forgotten.
    """

    dialect: Dialect
    status: int
    headers: Headers
    request_id: str
    prompt_hash: str
    body: bytes = b""
    events: Iterator[bytes] | None = None
    delay_s: float = 0.0
    hang: bool = False
    fault: str | None = None
    model: str | None = None
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    is_call: bool = True


class Simulation:
    """The provider behind the socket. One event loop uses it; `decide` never waits."""

    def __init__(self, config: SimulatorConfig, *, instance: str) -> None:
        """
        Args:
            instance: hex digits that tell this run's ids from another's.
        """
        self._config = config
        self._instance = instance
        self._numbers = count(1)
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._terms = Terms(config.seed, config.all_models, config.embedding_dimensions, PromptCache())
        self._models = Models(config.cold_start_ms / 1000)
        # One stream of draws each: turning faults on must not change the latencies of a seed.
        self._latency_draws = random.Random(f"{config.seed}:latency")  # noqa: S311  # must repeat, not surprise
        self._fault_draws = random.Random(f"{config.seed}:faults")  # noqa: S311
        limits = (("requests", config.requests_per_minute), ("tokens", config.tokens_per_minute))
        self._meters = {
            noun: Meter(Limit(noun, per_minute, config.burst_share))
            for noun, per_minute in limits
            if per_minute is not None
        }

    def decide(self, call: Inbound, *, now: float, unix_s: int) -> Plan:
        """Everything about one request. A call is charged and its faults are counted as it is decided.

        Args:
            now: monotonic seconds, for the limits.
            unix_s: what `created` shows.
        """
        dialect = dialect_of(call)
        number = f"{self._instance}{next(self._numbers):08x}"
        request_id = f"req_{number}"
        headers: Headers = [("content-type", JSON), *dialect.headers(request_id)]
        if not dialect.is_call(call):
            return self._paged(Plan(dialect, 200, headers, request_id, "", is_call=False), call)
        body, canonical = dialect.body_of(call)
        plan = Plan(dialect, 200, headers, request_id, blake3(canonical).hexdigest())
        try:
            if self._config.api_key is not None:
                dialect.check_key(call, self._config.api_key)
            if body is None:
                raise dialect.not_json()
            return self._answered(plan, call, body, Stamp(number, unix_s), now)
        except ApiError as error:
            model = body.get("model") if body else None
            return _refused(replace(plan, model=model if isinstance(model, str) else None), error)

    def _paged(self, plan: Plan, call: Inbound) -> Plan:
        try:
            if self._config.api_key is not None:
                plan.dialect.check_key(call, self._config.api_key)
            return _with_reply(plan, plan.dialect.page(call, self._terms))
        except ApiError as error:
            return _refused(plan, error)

    def _answered(self, plan: Plan, call: Inbound, body: Mapping[str, Any], stamp: Stamp, now: float) -> Plan:
        fault = self._fault(call, plan.prompt_hash)
        terms = self._terms
        if fault and (fault.huge_bytes or fault.tool_calls or fault.safety):
            terms = replace(
                terms, huge_bytes=fault.huge_bytes or 0, tool_calls=fault.tool_calls, safety=fault.safety
            )
        work = plan.dialect.work(call, body, terms)
        error = self._charge(plan, work, now, stamp.created)
        if error:
            return _refused(replace(plan, model=work.model, stream=work.stream), error)
        self._count(fault, plan.prompt_hash)
        delay_s = self._delay_s(fault)
        delay_s += self._models.wait_s(work.model, work.load, now, delay_s)
        told: dict[str, Any] = {"model": work.model, "stream": work.stream, "delay_s": delay_s}
        if fault is None:
            return _with_reply(plan, work.reply(stamp), **told, **_paid(work))
        told["fault"] = fault.spec
        if fault.hang:
            return replace(plan, hang=True, status=0, **told)
        if fault.status is not None and fault.body is None:
            return _refused(replace(plan, **told), _injected(plan.dialect, fault, fault.status))
        plan = _with_reply(plan, work.reply(stamp), **told, **_paid(work))
        return _spoiled(plan, fault) if fault.body else plan

    def _charge(self, plan: Plan, work: Work, now: float, unix_s: int) -> ApiError | None:
        """Take one request and its tokens from both meters, or from neither and give the refusal.

        The headers tell the state after the call; a refusal names the limit that takes longest.
        """
        if not self._meters:
            return None
        costs = {"requests": 1, "tokens": work.prompt_tokens + work.completion_tokens}
        waits = {noun: meter.wait_s(costs[noun], now) for noun, meter in self._meters.items()}
        slowest = max(waits, key=lambda noun: waits[noun])
        if waits[slowest] <= 0:
            self._meters = {noun: meter.spent(costs[noun], now) for noun, meter in self._meters.items()}
        plan.headers.extend(plan.dialect.limit_headers(tuple(self._meters.values()), now, unix_s))
        if waits[slowest] <= 0:
            return None
        hit = LimitHit(self._meters[slowest], work.model, costs[slowest], waits[slowest], now)
        return plan.dialect.over_limit(hit)

    def _fault(self, call: Inbound, prompt_hash: str) -> Fault | None:
        """The fault for this call: by header, else by marker, else by chance."""
        for spec in (
            call.headers.get("x-sim-fault"),
            marker_in(call.body) if b"[[sim:" in call.body else None,
        ):
            if spec is None:
                continue
            try:
                fault = parse_fault(spec)
            except FaultError as error:
                raise ApiError(400, str(error), param="x-sim-fault", code="invalid_fault") from error
            if fault.times is None or self._seen.get((spec, prompt_hash), 0) < fault.times:
                return fault
        if not self._config.faults:
            return None
        draw = self._fault_draws.random()
        for each in self._config.faults:
            draw -= each.rate
            if draw < 0:
                return each.fault
        return None

    def _count(self, fault: Fault | None, prompt_hash: str) -> None:
        if fault is None or fault.times is None:
            return
        key = (fault.spec, prompt_hash)
        self._seen[key] = self._seen.pop(key, 0) + 1
        if len(self._seen) > _MAX_COUNTED_PROMPTS:
            self._seen.popitem(last=False)

    def _delay_s(self, fault: Fault | None) -> float:
        if fault and fault.latency_ms is not None:
            return fault.latency_ms / 1000
        return drawn_latency_ms(self._config.latency, self._latency_draws) / 1000


def drawn_latency_ms(latency: Latency, draws: random.Random) -> float:
    """One latency; a fixed one draws nothing."""
    if latency.kind == "uniform":
        return draws.uniform(latency.min_ms, latency.max_ms)
    if latency.kind == "lognormal" and latency.ms > 0:
        return min(latency.max_ms, draws.lognormvariate(math.log(latency.ms), latency.sigma))
    return latency.ms


def stopped(plan: Plan) -> Plan:
    """The plan of a call that the end of the simulator overtook."""
    error = ApiError(503, "The simulator is stopping.", kind="server_error")
    unpaid: dict[str, Any] = dict.fromkeys(_PAID, 0)
    headers = [("content-type", JSON), *plan.headers[1:]]
    return replace(_refused(replace(plan, headers=headers), error), events=None, stream=False, **unpaid)


def _refused(plan: Plan, error: ApiError) -> Plan:
    body = plan.dialect.error_body(error, plan.request_id)
    return replace(plan, status=error.status, headers=[*plan.headers, *error.headers], body=body)


def _injected(dialect: Dialect, fault: Fault, status: int) -> ApiError:
    """The dialect's error with the waiting headers that the fault asks for, and no others."""
    error = dialect.injected(status, fault.code)
    error.headers = (*error.headers, *fault.retry_headers())
    error.retry_after_s = fault.wait_s
    return error


def _paid(work: Work) -> dict[str, Any]:
    """What a call costs, as a plan has it."""
    return {name: getattr(work, name) for name in _PAID}


def _with_reply(plan: Plan, reply: Reply, **told: Any) -> Plan:
    """The plan that sends a reply; `told` are more fields of it, since each copy costs."""
    headers = [("content-type", reply.content_type), *plan.headers[1:]]
    if reply.events is not None:
        headers.append(("cache-control", "no-cache"))
    return replace(plan, headers=headers, body=reply.body, events=reply.events, **told)


def _spoiled(plan: Plan, fault: Fault) -> Plan:
    """The true answer, damaged as asked. A streamed one is damaged as a stream."""
    status = fault.status or plan.status
    whole = b"".join(plan.events) if plan.events is not None else plan.body
    if fault.body == "html":
        html = [("content-type", "text/html; charset=utf-8"), *plan.headers[1:]]
        return replace(plan, status=status, headers=html, body=_HTML, events=None, stream=False)
    if fault.body == "empty":
        spoiled = b""
    elif fault.body == "truncated":
        spoiled = whole[: len(whole) // 2]
    elif plan.headers[0][1] == SSE:
        spoiled = whole.replace(b"data: {", b"data: {oops ", 2)
    else:
        spoiled = b"{oops " + whole[1:]
    return replace(plan, status=status, body=spoiled, events=None)

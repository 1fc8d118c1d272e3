"""One call decided, start to end: key, body, limits, fault, latency, answer. No sockets, no sleeping.

server.py hands in the bytes and the time and carries the returned `Plan` out. What lasts between calls stands
in `Simulation` alone: two meters, the counts of `times=` faults, and the seeded draws.
"""

from __future__ import annotations

import hmac
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import orjson
from blake3 import blake3

from app.simulator.chat import ChatAnswer, ChatRequest, answer_chat, read_chat
from app.simulator.config import Latency, SimulatorConfig
from app.simulator.embeddings import EmbeddingRequest, embedding_reply, read_embeddings
from app.simulator.errors import ApiError, injected, missing_key, not_json, wrong_key
from app.simulator.faults import Fault, FaultError, marker_in, parse_fault
from app.simulator.limits import Headers, Limit, Meter, refusal
from app.simulator.replies import Stamp, chat_events, chat_reply

CHAT_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
CALL_PATHS = frozenset({CHAT_PATH, EMBEDDINGS_PATH})
JSON_HEADERS = (("content-type", "application/json"),)
_STREAM_HEADERS = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
_MAX_COUNTED_PROMPTS = 100_000  # of those with times=; the one unused longest is forgotten first
_HTML = (
    b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"
)


@dataclass(frozen=True, slots=True)
class Inbound:
    """One call as it arrived."""

    path: str
    body: bytes
    authorization: str | None
    fault_header: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one call: wait `delay_s`, then send, or never answer (`hang`)."""

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


@dataclass(frozen=True, slots=True)
class _Priced:
    """A checked request whose price is known; `reply` turns a plan into one that answers it."""

    model: str
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    reply: Callable[[Plan], Plan]


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
        """Everything about one call. It is charged and its faults are counted as it is decided.

        Args:
            now: monotonic seconds, for the limits.
            unix_s: what `created` shows.
        """
        number = f"{self._instance}{next(self._numbers):08x}"
        headers: Headers = [
            ("content-type", "application/json"),
            ("x-request-id", f"req_{number}"),
            ("openai-version", "2020-10-01"),
        ]
        body, canonical = _json_object(call.body)
        plan = Plan(200, headers, f"req_{number}", blake3(canonical).hexdigest())
        try:
            check_key(call.authorization, self._config.api_key)
            if body is None:
                raise not_json()
            return self._answered(plan, call, body, Stamp(number, unix_s), now)
        except ApiError as error:
            model = body.get("model") if body else None
            return _refused(replace(plan, model=model if isinstance(model, str) else None), error)

    def _answered(self, plan: Plan, call: Inbound, body: Mapping[str, Any], stamp: Stamp, now: float) -> Plan:
        fault = self._fault(call, plan.prompt_hash)
        priced = self._priced(call.path, body, stamp, (fault.huge_bytes or 0) if fault else 0)
        plan = replace(plan, model=priced.model, stream=priced.stream)
        refused = self._charge(plan, priced.prompt_tokens + priced.completion_tokens, now)
        if refused:
            return refused
        self._count(fault, plan.prompt_hash)
        plan = replace(plan, delay_s=self._delay_s(fault), fault=fault.spec if fault else None)
        if fault and fault.hang:
            return replace(plan, hang=True, status=0)
        if fault and fault.status is not None and fault.body is None:
            return _refused(plan, injected(fault.status, fault.code, fault.retry_headers()))
        plan = replace(plan, prompt_tokens=priced.prompt_tokens, completion_tokens=priced.completion_tokens)
        plan = priced.reply(plan)
        return _spoiled(plan, fault) if fault and fault.body else plan

    def _priced(self, path: str, body: Mapping[str, Any], stamp: Stamp, huge_bytes: int) -> _Priced:
        """Check the body and work the answer out, as far as its price needs it."""
        seed, all_models = self._config.seed, self._config.all_models
        if path == CHAT_PATH:
            chat = read_chat(body, all_models=all_models)
            answer = answer_chat(chat, seed, huge_bytes)
            reply = partial(_with_chat, request=chat, answer=answer, stamp=stamp)
            return _Priced(chat.model, chat.stream, answer.prompt_tokens, answer.completion_tokens, reply)
        dimensions = self._config.embedding_dimensions
        wanted = read_embeddings(body, all_models=all_models, default_dimensions=dimensions)
        into = partial(_with_embeddings, request=wanted, seed=seed, huge_bytes=huge_bytes)
        return _Priced(wanted.model, False, wanted.prompt_tokens, 0, into)

    def _charge(self, plan: Plan, tokens: int, now: float) -> Plan | None:
        """Take one request and its tokens from both meters, or from neither and give the refusal.

        The headers tell the state after the call; a refusal names the limit that takes longest.
        """
        costs = {"requests": 1, "tokens": tokens}
        waits = {noun: meter.wait_s(costs[noun], now) for noun, meter in self._meters.items()}
        if not waits:
            return None
        slowest = max(waits, key=lambda noun: waits[noun])
        if waits[slowest] <= 0:
            self._meters = {noun: meter.spent(costs[noun], now) for noun, meter in self._meters.items()}
        for meter in self._meters.values():
            plan.headers.extend(meter.headers(now))
        if waits[slowest] <= 0:
            return None
        error = refusal(self._meters[slowest], plan.model or "", costs[slowest], waits[slowest], now, [])
        return _refused(plan, error)

    def _fault(self, call: Inbound, prompt_hash: str) -> Fault | None:
        """The fault for this call: by header, else by marker, else by chance."""
        for spec in (call.fault_header, marker_in(call.body) if b"[[sim:" in call.body else None):
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


def check_key(authorization: str | None, wanted: str | None) -> None:
    """Nothing if no key is wanted.

    Raises: ApiError 401 without a key or with another one.
    """
    if wanted is None:
        return
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise missing_key()
    if not hmac.compare_digest(key.strip().encode(), wanted.encode()):
        raise wrong_key(key.strip())


def stopped(plan: Plan) -> Plan:
    """The plan of a call that the end of the simulator overtook."""
    error = ApiError(503, "The simulator is stopping.", kind="server_error")
    return replace(_refused(plan, error), events=None, stream=False, prompt_tokens=0, completion_tokens=0)


def _json_object(body: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The body and its canonical form; None and the bytes as they are for what is no JSON object."""
    try:
        read = orjson.loads(body)
        canonical = orjson.dumps(read, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the second for nesting no one can write back
        return None, body
    return (read, canonical) if isinstance(read, dict) else (None, body)


def _refused(plan: Plan, error: ApiError) -> Plan:
    return replace(
        plan, status=error.status, headers=[*plan.headers, *error.headers], body=orjson.dumps(error.body)
    )


def _with_chat(plan: Plan, request: ChatRequest, answer: ChatAnswer, stamp: Stamp) -> Plan:
    stamp = Stamp(f"chatcmpl-{stamp.id}", stamp.created)
    if not request.stream:
        return replace(plan, body=orjson.dumps(chat_reply(request, answer, stamp)))
    headers = [*_STREAM_HEADERS, *plan.headers[1:]]
    return replace(plan, headers=headers, events=chat_events(request, answer, stamp))


def _with_embeddings(plan: Plan, request: EmbeddingRequest, seed: int, huge_bytes: int) -> Plan:
    reply = embedding_reply(request, seed)
    if huge_bytes:
        reply["padding"] = "x" * huge_bytes
    return replace(plan, body=orjson.dumps(reply))


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
    elif plan.events is not None:
        spoiled = whole.replace(b"data: {", b"data: {oops ", 2)
    else:
        spoiled = b"{oops " + whole[1:]
    return replace(plan, status=status, body=spoiled, events=None)

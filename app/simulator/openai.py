"""OpenAI's dialect: which path is what, its key, headers, limits and errors, and its pages.

openai_chat.py reads chat and openai_replies.py writes it; openai_responses.py, openai_completions.py,
openai_audio.py and embeddings.py have the other endpoints. Any prefix before a
path will do, so that base URLs like Azure's work: `/openai/deployments/sim-small/chat/completions?api-version=...`
names the model, and the key may stand in `api-key`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, ChatRequest, answer_chat
from app.simulator.dialect import (
    SSE,
    Inbound,
    LimitHit,
    Reply,
    Stamp,
    Terms,
    Work,
    bearer_key,
    json_object,
    same_key,
)
from app.simulator.embeddings import EmbeddingRequest, embedding_reply, read_embeddings
from app.simulator.errors import ApiError, injected, missing_key, not_json, wrong_key
from app.simulator.limits import Headers, Meter, go_duration, waits_forever, whole_ms, whole_s
from app.simulator.models import MODELS, model_list, model_object
from app.simulator.openai_audio import speech, transcription
from app.simulator.openai_cache import cached_tokens
from app.simulator.openai_chat import read_chat
from app.simulator.openai_completions import completions
from app.simulator.openai_multipart import form_of
from app.simulator.openai_replies import chat_events, chat_reply
from app.simulator.openai_responses import responses

_MODEL_IN_PATH = re.compile(r"/deployments/([^/]+)/")


class OpenAI:
    """The API of api.openai.com and of all that call themselves compatible."""

    name = "openai"
    took_header = "openai-processing-ms"

    def owns(self, call: Inbound) -> bool:
        return _endpoint(call.path) is not None

    def is_call(self, call: Inbound) -> bool:
        return call.method == "POST" and _endpoint(call.path) is not None

    def check_key(self, call: Inbound, wanted: str) -> None:
        key = bearer_key(call) or (call.headers.get("api-key") or "").strip()
        if not key:
            raise missing_key()
        if not same_key(key, wanted):
            raise wrong_key(key)

    def body_of(self, call: Inbound) -> tuple[dict[str, Any] | None, bytes]:
        if call.path.endswith("/audio/transcriptions"):
            body, canonical = form_of(call.headers.get("content-type") or "", call.body)
        else:
            body, canonical = json_object(call.body)
        if body is not None and call.path not in _EXACT and "model" not in body:
            in_path = _MODEL_IN_PATH.search(call.path)
            if in_path:
                body["model"] = in_path[1]
        return body, canonical

    def work(self, call: Inbound, body: Mapping[str, Any], terms: Terms) -> Work:
        return _WORK[_endpoint(call.path) or ""](body, terms)

    def page(self, call: Inbound, terms: Terms) -> Reply:
        """The model list, and refusals of all that is nothing."""
        method, path = call.method, call.path
        if self.owns(call) or (path.endswith("/models") and method != "GET"):
            raise ApiError(405, f"Not allowed to {method} on {path}.", code="method_not_supported")
        if path.endswith("/models"):
            return Reply(orjson.dumps(model_list()))
        _, in_models, name = path.partition("/models/")
        if method == "GET" and (name in MODELS or (name and terms.all_models)):
            return Reply(orjson.dumps(model_object(name)))
        if in_models:
            raise ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
        raise ApiError(404, f"Invalid URL ({method} {path})")

    def headers(self, request_id: str) -> Headers:
        return [("x-request-id", request_id), ("openai-version", "2020-10-01")]

    def limit_headers(self, meters: Sequence[Meter], now: float, unix_s: int) -> Headers:
        headers: Headers = []
        for meter in meters:
            noun = meter.limit.noun
            headers.append((f"x-ratelimit-limit-{noun}", str(meter.limit.per_minute)))
            headers.append((f"x-ratelimit-remaining-{noun}", str(meter.remaining(now))))
            headers.append((f"x-ratelimit-reset-{noun}", go_duration(meter.full_in_s(now))))
        return headers

    def over_limit(self, hit: LimitHit) -> ApiError:
        limit = hit.meter.limit
        name = f"{limit.noun} per min ({'RPM' if limit.noun == 'requests' else 'TPM'})"
        of = f"for {hit.model} in organization org-simulator on {name}: Limit {limit.per_minute}"
        if waits_forever(hit.wait_s):
            message = (
                f"Request too large {of}, Requested {hit.cost}. "
                "The input or output tokens must be reduced in order to run successfully."
            )
            return ApiError(429, message, kind=limit.noun, code="rate_limit_exceeded")
        used = limit.capacity - hit.meter.remaining(hit.now)
        message = (
            f"Rate limit reached {of}, Used {used}, Requested {hit.cost}. "
            f"Please try again in {go_duration(hit.wait_s)}."
        )
        retry = [("retry-after", whole_s(hit.wait_s)), ("retry-after-ms", whole_ms(hit.wait_s))]
        return ApiError(429, message, kind=limit.noun, code="rate_limit_exceeded", headers=retry)

    def injected(self, status: int, code: str | None) -> ApiError:
        return injected(status, code)

    def not_json(self) -> ApiError:
        return not_json()

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        shown = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
        return orjson.dumps({"error": shown})


def _chat(body: Mapping[str, Any], terms: Terms) -> Work:
    request = read_chat(body, all_models=terms.all_models, tool_calls=terms.tool_calls)
    answer = answer_chat(request, terms.seed, terms.huge_bytes)
    cached, keep = cached_tokens(request, answer, terms)
    return Work(
        request.model,
        answer.prompt_tokens,
        answer.completion_tokens,
        partial(_write_chat, request, answer, cached, keep),
        stream=request.stream,
        cached_tokens=cached,
    )


def _write_chat(
    request: ChatRequest, answer: ChatAnswer, cached: int, keep: Callable[[], None], stamp: Stamp
) -> Reply:
    keep()
    if request.stream:
        return Reply(events=chat_events(request, answer, stamp, cached), content_type=SSE)
    return Reply(orjson.dumps(chat_reply(request, answer, stamp, cached)))


def _embeddings(body: Mapping[str, Any], terms: Terms) -> Work:
    wanted = read_embeddings(body, all_models=terms.all_models, default_dimensions=terms.embedding_dimensions)
    return Work(wanted.model, wanted.prompt_tokens, 0, partial(_write_embeddings, wanted, terms))


def _write_embeddings(request: EmbeddingRequest, terms: Terms, _: Stamp) -> Reply:
    reply = embedding_reply(request, terms.seed)
    if terms.huge_bytes:
        reply["padding"] = "x" * terms.huge_bytes
    return Reply(orjson.dumps(reply))


# In this order: a path ends with the first that fits.
_WORK: Mapping[str, Callable[[Mapping[str, Any], Terms], Work]] = MappingProxyType(
    {
        "/chat/completions": _chat,
        "/completions": completions,
        "/embeddings": _embeddings,
        "/responses": responses,
        "/audio/transcriptions": transcription,
        "/audio/speech": speech,
    }
)
_EXACT = {f"/v1{endpoint}": endpoint for endpoint in _WORK}


def _endpoint(path: str) -> str | None:
    exact = _EXACT.get(path)
    if exact is not None:
        return exact
    return next((endpoint for endpoint in _WORK if path.endswith(endpoint)), None)

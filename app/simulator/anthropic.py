"""Anthropic's dialect: which path is what, its key, headers, limits and errors, and its free pages.

Messages are read by anthropic_request.py and written by anthropic_replies.py; anthropic_cache.py tells what the
prompt cache had of them. Every request needs `anthropic-version`, as the API insists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from app.simulator.anthropic_cache import CacheUse, cache_use
from app.simulator.anthropic_replies import message_events, message_reply
from app.simulator.anthropic_request import Asked, read_messages
from app.simulator.chat import ChatAnswer, answer_chat
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
from app.simulator.errors import ApiError
from app.simulator.limits import Headers, Meter, waits_forever, whole_s
from app.simulator.models import CHAT, MODELS
from app.simulator.usage import prompt_tokens

MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
MAX_BODY_BYTES = 32 * 1024 * 1024
_VERSION = "anthropic-version"
_RELEASED = "2023-11-14T22:13:20Z"
_KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The simulator was asked to refuse with 400."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out while processing."),
    529: ("overloaded_error", "Overloaded"),
}


class Anthropic:
    """The Messages API of api.anthropic.com."""

    name = "anthropic"
    took_header = ""

    def owns(self, call: Inbound) -> bool:
        return "/v1/messages" in call.path or call.headers.get(_VERSION) is not None

    def is_call(self, call: Inbound) -> bool:
        return call.method == "POST" and call.path.endswith(MESSAGES_PATH)

    def check_key(self, call: Inbound, wanted: str) -> None:
        key = (call.headers.get("x-api-key") or "").strip() or bearer_key(call)
        if not key:
            raise ApiError(401, "x-api-key header is required")
        if not same_key(key, wanted):
            raise ApiError(401, "invalid x-api-key")

    def body_of(self, call: Inbound) -> tuple[dict[str, Any] | None, bytes]:
        return json_object(call.body)

    def work(self, call: Inbound, body: Mapping[str, Any], terms: Terms) -> Work:
        _check_version(call)
        if len(call.body) > MAX_BODY_BYTES:
            raise ApiError(413, "Request exceeds the maximum size")
        asked = read_messages(body, terms)
        answer = answer_chat(asked.chat, terms.seed, terms.huge_bytes)
        cache = cache_use(asked.chat, asked.turns, asked.tools_mark, terms.cache)
        return Work(
            asked.chat.model,
            answer.prompt_tokens,
            answer.completion_tokens,
            partial(_write, asked, answer, cache),
            stream=asked.chat.stream,
            cached_tokens=cache.read_tokens,
            cache_write_tokens=cache.written_tokens,
        )

    def page(self, call: Inbound, terms: Terms) -> Reply:
        """Token counts and the model list."""
        path, _, name = call.path.partition("/v1/models/")
        wanted = "POST" if "/v1/messages" in path else "GET"
        known = path.endswith((MESSAGES_PATH, COUNT_PATH, "/v1/models")) or name
        if not known:
            raise ApiError(404, "Not found")
        if call.method != wanted:
            raise ApiError(405, "Method Not Allowed")
        _check_version(call)
        if path.endswith(COUNT_PATH):
            return Reply(orjson.dumps({"input_tokens": _counted(call, terms)}))
        if not name:
            shown = [_model(each) for each, kind in MODELS.items() if kind == CHAT]
            ends = {"has_more": False, "first_id": shown[0]["id"], "last_id": shown[-1]["id"]}
            return Reply(orjson.dumps({"data": shown, **ends}))
        if MODELS.get(name, CHAT if terms.all_models else None) != CHAT:
            raise ApiError(404, f"model: {name}")
        return Reply(orjson.dumps(_model(name)))

    def headers(self, request_id: str) -> Headers:
        return [("request-id", request_id), ("anthropic-organization-id", "org-simulator")]

    def limit_headers(self, meters: Sequence[Meter], now: float, unix_s: int) -> Headers:
        headers: Headers = []
        for meter in meters:
            name = f"anthropic-ratelimit-{meter.limit.noun}"
            full_at = datetime.fromtimestamp(math.ceil(unix_s + meter.full_in_s(now)), UTC)
            headers.append((f"{name}-limit", str(meter.limit.per_minute)))
            headers.append((f"{name}-remaining", str(meter.remaining(now))))
            headers.append((f"{name}-reset", full_at.strftime("%Y-%m-%dT%H:%M:%SZ")))
        return headers

    def over_limit(self, hit: LimitHit) -> ApiError:
        limit = hit.meter.limit
        message = (
            f"This request would exceed your organization's rate limit of {limit.per_minute} {limit.noun} "
            f"per minute (model: {hit.model})."
        )
        retry = () if waits_forever(hit.wait_s) else (("retry-after", whole_s(hit.wait_s)),)
        return ApiError(429, message, headers=retry)

    def injected(self, status: int, code: str | None) -> ApiError:
        return ApiError(
            status,
            _KINDS.get(status, ("", f"The simulator was asked to refuse with {status}."))[1],
            code=code,
        )

    def not_json(self) -> ApiError:
        return ApiError(400, "The request body is not valid JSON")

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        usual = "api_error" if error.status >= 500 else "invalid_request_error"
        shown: dict[str, Any] = {"type": _KINDS.get(error.status, (usual, ""))[0], "message": error.message}
        if error.code and error.code.endswith("_error"):
            shown["type"] = error.code  # a fault may ask for any type under any status
        elif error.code:
            shown["details"] = {"error_code": error.code}
        return orjson.dumps({"type": "error", "error": shown, "request_id": request_id})


def _check_version(call: Inbound) -> None:
    if not call.headers.get(_VERSION):
        raise ApiError(400, f"{_VERSION}: header is required")


def _counted(call: Inbound, terms: Terms) -> int:
    body, _ = json_object(call.body)
    if body is None:
        raise ApiError(400, "The request body is not valid JSON")
    chat = read_messages(body, terms, counting=True).chat
    return prompt_tokens(chat.messages, chat.tools, chat.schema)


def _write(asked: Asked, answer: ChatAnswer, cache: CacheUse, stamp: Stamp) -> Reply:
    cache.keep()
    if asked.chat.stream:
        return Reply(events=message_events(asked, answer, cache, stamp), content_type=SSE)
    return Reply(orjson.dumps(message_reply(asked, answer, cache, stamp)))


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _RELEASED,
        "lifecycle": "active",
    }

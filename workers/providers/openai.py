"""OpenAI's API and every server that speaks it: chat completions and embeddings.

Source: OpenAI's published OpenAPI document (chat completions, embeddings, error object, rate-limit headers).
"""

from __future__ import annotations

from typing import Any

import orjson

from workers.core.errors import ProviderError
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply, Usage
from workers.core.wire import error_body
from workers.providers.base import error_from_status, request_id, unusable_reply

# The base URL carries the version, as OPENAI_BASE_URL does everywhere: https://api.openai.com/v1
_ENDPOINT_PREFIX = "/v1"
_ANSWER_FIELD = {"/v1/chat/completions": "choices", "/v1/embeddings": "data"}
_MAX_MESSAGE_CHARACTERS = 500
_MAX_MODEL_CHARACTERS = 200  # it is stored inside the result, whose size the database bounds
_MAX_TOKENS = 2**53  # what JSON readers and the database count exactly


class OpenAI:
    """Translate between our `Call` and OpenAI's HTTP API; the shapes are the same, so little is changed."""

    def __init__(self, name: str = "openai") -> None:
        self.name = name

    def build_request(self, call: Call, api_key: str | None) -> HttpRequest:
        """The call's own body under the routed model name, never as a stream."""
        body = {**call.body, "model": call.model}
        body.pop("stream", None)
        body.pop("stream_options", None)
        headers = {"content-type": "application/json", "accept": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        return HttpRequest("POST", call.endpoint.removeprefix(_ENDPOINT_PREFIX), headers, orjson.dumps(body))

    def parse_response(self, response: HttpResponse) -> Reply:
        """The provider's bytes are the answer; they are read only to be sure that they are one."""
        with unusable_reply(self.name, response):
            data = orjson.loads(response.body)
            if not any(isinstance(data[field], list) for field in _ANSWER_FIELD.values() if field in data):
                raise ValueError(f"neither of {sorted(_ANSWER_FIELD.values())} is a list in it")
            return Reply(
                body=one_line(response.body, data),
                usage=parse_usage(data.get("usage") or {}),
                model=str(data.get("model") or "")[:_MAX_MODEL_CHARACTERS],
                request_id=request_id(response.headers),
            )

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """The provider's message where there is one; else what the status says, in the same shape."""
        try:
            data = orjson.loads(response.body)
            message = str(data["error"]["message"])
            body = one_line(response.body, data)
        except (ValueError, KeyError, TypeError):
            message = f"status {response.status} without a readable error"
            body = error_body(message, kind="provider_error")
        return error_from_status(self.name, message[:_MAX_MESSAGE_CHARACTERS], response, body)


def one_line(raw: bytes, data: Any) -> bytes:
    """The JSON as a JSONL file can hold it: OpenAI itself answers with indented bodies."""
    return orjson.dumps(data) if b"\n" in raw or b"\r" in raw else raw


def parse_usage(data: dict[str, Any]) -> Usage:
    """Token counts from a `usage` object; absent parts are 0. Raises ValueError for what is no count."""
    prompt_details = data.get("prompt_tokens_details") or {}
    completion_details = data.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=_count(data.get("prompt_tokens")),
        output_tokens=_count(data.get("completion_tokens")),
        cached_tokens=_count(prompt_details.get("cached_tokens")),
        reasoning_tokens=_count(completion_details.get("reasoning_tokens")),
    )


def _count(value: Any) -> int:
    tokens = int(value or 0)
    if not 0 <= tokens <= _MAX_TOKENS:
        raise ValueError(f"{tokens} is no count of tokens")
    return tokens

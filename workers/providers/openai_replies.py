"""Read a success of OpenAI's API or of a server that speaks it, endpoint by endpoint. Pure.

The provider's bytes are the answer wherever they are a JSON object already; they are read only to be sure that
they are one, and to count. Sound and plain text are put into a JSON object.

Source: OpenAI's published OpenAPI document: the response of each endpoint, CompletionUsage, ResponseUsage,
TranscriptTextUsageTokens.
"""

from __future__ import annotations

import base64
from typing import Any

import orjson

from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.base import request_id
from workers.providers.openai_errors import one_line, reported

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
SPEECH = "/v1/audio/speech"
# The field that makes an object an answer of its endpoint.
_ANSWER: dict[str, tuple[str, type]] = {
    CHAT: ("choices", list),
    COMPLETIONS: ("choices", list),
    RESPONSES: ("output", list),
    EMBEDDINGS: ("data", list),
    TRANSCRIPTIONS: ("text", str),
}
ENDPOINTS = frozenset({*_ANSWER, SPEECH})
TEXT_FORMATS = ("text", "srt", "vtt")
_MAX_NAME_CHARACTERS = 200  # it is stored inside the result, whose size the database bounds
_MAX_TOKENS = 2**53  # what JSON readers and the database count exactly


def read_reply(provider: str, call: Call, response: HttpResponse) -> Reply:
    """The answer in a success.

    Raises:
        ProviderError: the body reports a failure.
        ValueError, KeyError, TypeError, AttributeError: it is no answer.
    """
    if call.endpoint == SPEECH:
        return _speech(call, response)
    if call.endpoint == TRANSCRIPTIONS and _is_text(call, response):
        text = orjson.dumps({"text": response.body.decode()})
        return Reply(text, Usage(), call.model, request_id(response.headers))
    data = orjson.loads(response.body)
    return read_object(provider, call.endpoint, data, response, one_line(response.body, data))


def read_object(provider: str, endpoint: str, data: Any, response: HttpResponse, body: bytes) -> Reply:
    """The answer that `data` is; `body` are its bytes. Raises as `read_reply`."""
    usage = parse_usage(data.get("usage") or {})
    if data.get("error"):
        raise reported(provider, data["error"], response.headers, usage=usage)
    field, kind = _ANSWER[endpoint]
    if not isinstance(data[field], kind):
        raise TypeError(f"{field!r} is no {kind.__name__}")
    if field == "choices":
        _look_into(provider, data["choices"], response, usage)
    if endpoint == RESPONSES and data.get("status") not in (None, "completed", "incomplete"):
        raise ValueError(f"a response that is {str(data['status'])[:40]}")
    return Reply(
        body=body,
        usage=usage,
        model=_name(data.get("model")),
        request_id=request_id(response.headers),
        tier=_name(data.get("service_tier")),
    )


def _look_into(provider: str, choices: list[Any], response: HttpResponse, usage: Usage) -> None:
    """Raises what a gateway says of a model that broke off within a choice; ValueError when there is none."""
    if not choices:
        raise ValueError("no choices in it")
    for choice in choices:
        if choice.get("error"):
            raise reported(provider, choice["error"], response.headers, usage=usage)


def parse_usage(data: dict[str, Any]) -> Usage:
    """Token counts of a `usage` object, whatever its endpoint calls them; absent parts are 0.

    Raises: ValueError or TypeError for what is no count. A usage of type `duration` counts seconds, not tokens.
    """
    read = data.get("prompt_tokens_details") or data.get("input_tokens_details") or {}
    written = data.get("completion_tokens_details") or data.get("output_tokens_details") or {}
    return Usage(
        input_tokens=_count(data.get("prompt_tokens") or data.get("input_tokens")),
        output_tokens=_count(data.get("completion_tokens") or data.get("output_tokens")),
        cached_tokens=_count(read.get("cached_tokens")),
        reasoning_tokens=_count(written.get("reasoning_tokens")),
        cache_write_tokens=_count(read.get("cache_write_tokens")),
    )


def _count(value: Any) -> int:
    if type(value) is int and 0 <= value <= _MAX_TOKENS:
        return value
    if value is None:
        return 0
    if not isinstance(value, int | float) or not 0 <= value <= _MAX_TOKENS:
        raise ValueError(f"{str(value)[:40]} is no count of tokens")
    return int(value)


def _name(value: Any) -> str:
    return value[:_MAX_NAME_CHARACTERS] if isinstance(value, str) else ""


def _speech(call: Call, response: HttpResponse) -> Reply:
    content_type = _content_type(response)
    if not response.body or content_type.startswith(("text/", "application/json")):
        raise ValueError(f"no sound but {content_type or 'an empty body'}")
    sound = base64.b64encode(response.body).decode()
    shown = {"object": "audio.speech", "content_type": content_type, "data": sound}
    return Reply(orjson.dumps(shown), Usage(), call.model, request_id(response.headers))


def _is_text(call: Call, response: HttpResponse) -> bool:
    asked = {**call.body, **call.provider_options}.get("response_format")
    return asked in TEXT_FORMATS and not _content_type(response).startswith(("application/json", "text/html"))


def _content_type(response: HttpResponse) -> str:
    return _name(response.headers.get("content-type")) or "application/octet-stream"

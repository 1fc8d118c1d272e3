"""Sort Ollama's failures by what to do about them. Pure.

Ollama gives one sentence, `{"error": "..."}`, and a status that often says less than the sentence: a bad JSON
Schema is a 500. The sentence decides where it is known, the status everywhere else.

Source: Ollama's published API document (errors) and the sentences its server is documented to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from workers.core.errors import (
    ContextTooLong,
    ModelUnknown,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RequestRefused,
    UnusableReply,
)
from workers.core.messages import HttpResponse
from workers.core.wire import error_body
from workers.providers.base import error_from_status, kind_of_status

_MAX_SENTENCE_CHARACTERS = 400
_MAX_PLAIN_TEXT_BYTES = 200
_CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True, slots=True)
class _Known:
    """A sentence that says more than its status; `way_out` may name the model."""

    pattern: re.Pattern[str]
    kind: type[ProviderError]
    code: str
    way_out: str = ""


_MODEL = re.compile(r"""model ["']([\w./:@-]{1,200})["']""")
_KNOWN = (
    _Known(
        re.compile(r"^model .*not found"),
        ModelUnknown,
        "model_not_found",
        "get it with `batchwright models pull {model}`",
    ),
    _Known(
        re.compile(r"exceed(s|ed)( the| max| maximum)?( available)? context (length|size)|prompt too long"),
        ContextTooLong,
        "context_length_exceeded",
        'give it more context with provider_options {"options": {"num_ctx": ...}}, as far as the model has it',
    ),
    # Rerouted, not repeated: Ollama has thrown out every idle model before it says so.
    _Known(
        re.compile(r"requires more system memory"),
        ModelUnknown,
        "insufficient_memory",
        "take a smaller model or a smaller num_ctx",
    ),
    _Known(re.compile(r"invalid JSON schema|invalid format:|parse grammar"), RequestRefused, "invalid_schema"),
    # An account's hour or week at the hosted models: nothing opens within a retry's time.
    _Known(re.compile(r"usage limit"), QuotaExhausted, "usage_limit_reached"),
    _Known(re.compile(r"only supports one image"), RequestRefused, "too_many_images"),
    # What the model wrote was no call; it may write another thing next time.
    _Known(re.compile(r"error parsing tool call"), UnusableReply, "unusable_tool_call"),
    _Known(re.compile(r"server busy|llama runner process"), Overloaded, "provider_unavailable"),
)  # fmt: skip


def read_error(provider: str, response: HttpResponse) -> ProviderError:
    """The error of a failing response; any bytes give one."""
    return error_from_sentence(provider, _sentence(response), response)


def error_from_sentence(provider: str, sentence: str, response: HttpResponse) -> ProviderError:
    """The error that a sentence and a status make; its body has OpenAI's shape."""
    sentence = sentence[:_MAX_SENTENCE_CHARACTERS]
    known = next((each for each in _KNOWN if each.pattern.search(sentence)), None)
    kind = known.kind if known else _kind_of(response.status)
    code = known.code if known else kind.code
    if known and known.way_out:
        model = _MODEL.search(sentence)
        sentence = f"{sentence}; {known.way_out.replace('{model}', model[1] if model else 'NAME')}"
    shape = "invalid_request_error" if kind.action in ("refuse", "reroute") else "server_error"
    body = error_body(sentence, kind=shape, code=code)
    return error_from_status(
        provider, sentence, response, body, code=known.code if known else None, kind=kind
    )


def error_text(error: Any) -> str:
    """The sentence of an `error` value: text, or an object with a message as proxies give it."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error")
    return error if isinstance(error, str) and error.strip() else "an error without a message"


def _kind_of(status: int) -> type[ProviderError]:
    # 499: somebody closed the connection while the model was loading; the request itself was fine.
    return Overloaded if status == _CLIENT_CLOSED_REQUEST else kind_of_status(status)


def _sentence(response: HttpResponse) -> str:
    try:
        return error_text(orjson.loads(response.body)["error"])
    except (ValueError, KeyError, TypeError, IndexError):
        return _plain_sentence(response)


def _plain_sentence(response: HttpResponse) -> str:
    """For what is not Ollama's own error: a page of a proxy, a line of text, nothing."""
    text = response.body[:_MAX_PLAIN_TEXT_BYTES].decode("utf-8", "replace").strip()
    if text and len(response.body) <= _MAX_PLAIN_TEXT_BYTES and text.isprintable() and text[0] not in "<{[":
        return f"status {response.status}: {text}"
    return f"status {response.status} without a readable error"

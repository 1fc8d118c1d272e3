"""Gemini's dialect, the Generative Language API: its paths, its key, its models, its work.

    POST /v1beta/models/{model}:generateContent         one answer
    POST /v1beta/models/{model}:streamGenerateContent   events with ?alt=sse, else one JSON array in pieces
    POST /v1beta/models/{model}:embedContent, :batchEmbedContents
    POST /v1beta/models/{model}:countTokens             free
    GET  /v1beta/models, /v1beta/models/{model}         free

The same under /v1, where a request without a method in its path is Gemini's by its key header: OpenAI has a
model list there too. Bodies are read by gemini_read.py and written by gemini_replies.py; gemini_errors.py has
the refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import orjson

from app.simulator import gemini_errors
from app.simulator.chat import ChatAnswer, ChatRequest, answer_chat
from app.simulator.dialect import (
    JSON,
    SSE,
    Inbound,
    LimitHit,
    Reply,
    Stamp,
    Terms,
    Work,
    json_object,
    same_key,
)
from app.simulator.errors import ApiError
from app.simulator.gemini_read import (
    EmbedRequest,
    GenerateRequest,
    read_batch_embed,
    read_count,
    read_embed,
    read_generate,
)
from app.simulator.gemini_replies import (
    Written,
    as_array,
    as_events,
    blocked,
    chunks,
    embedded,
    modalities,
    model_object,
    whole,
)
from app.simulator.limits import Headers, Meter
from app.simulator.models import CHAT, EMBEDDING, MODELS
from app.simulator.promptcache import beginnings, steps
from app.simulator.usage import count_tokens, prompt_bytes, prompt_tokens
from app.simulator.vectors import embedding

_LISTS = ("/v1beta/models", "/v1/models")
_MODELS = tuple(f"{path}/" for path in _LISTS)
_KEY_HEADER = "x-goog-api-key"
_PURPOSES = {
    "generateContent": CHAT,
    "streamGenerateContent": CHAT,
    "embedContent": EMBEDDING,
    "batchEmbedContents": EMBEDDING,
}
_METHODS = frozenset({*_PURPOSES, "countTokens"})
_MAX_PAGE = 1_000


class Gemini:
    """The API of generativelanguage.googleapis.com."""

    name = "gemini"
    took_header = ""

    def owns(self, call: Inbound) -> bool:
        path = call.path
        if not (path.startswith(_MODELS) or path in _LISTS):
            return False
        if path.startswith(_LISTS[0]):
            return True
        return _target(call)[1] in _METHODS or call.headers.get(_KEY_HEADER) is not None

    def is_call(self, call: Inbound) -> bool:
        return call.method == "POST" and _target(call)[1] in _PURPOSES

    def check_key(self, call: Inbound, wanted: str) -> None:
        key = (call.headers.get(_KEY_HEADER) or _asked(call, "key")).strip()
        if not key:
            raise gemini_errors.missing_key()
        if not same_key(key, wanted):
            raise gemini_errors.wrong_key()

    def body_of(self, call: Inbound) -> tuple[dict[str, Any] | None, bytes]:
        body, canonical = json_object(call.body or b"{}")
        if body is None:
            return None, canonical
        # The path names the model, whatever the body says: the hash must tell models apart.
        body["model"] = _target(call)[0]
        return body, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)

    def work(self, call: Inbound, body: Mapping[str, Any], terms: Terms) -> Work:
        model, method = _target(call)
        _check_model(model, method, terms)
        fields = {name: value for name, value in body.items() if name != "model"}
        if _PURPOSES[method] == EMBEDDING:
            return _embed(fields, model, terms, batch=method == "batchEmbedContents")
        stream = method == "streamGenerateContent"
        request = read_generate(fields, model, terms, stream=stream)
        if terms.safety:
            return _block(call, request.chat)
        return _generate(call, request, terms)

    def page(self, call: Inbound, terms: Terms) -> Reply:
        """The model list, one model, and the count of a prompt's tokens."""
        model, method = _target(call)
        if method == "countTokens" and call.method == "POST":
            return self._count(call, model, terms)
        if method in _METHODS or (not method and call.method != "GET"):
            raise ApiError(405, f"The method {call.method} is not allowed here.")
        if call.path in _LISTS:
            return Reply(orjson.dumps(_listed(call)))
        if method or not (model in MODELS or (model and terms.all_models)):
            raise gemini_errors.unknown_model(model, method or "GetModel")
        return Reply(orjson.dumps(model_object(model)))

    def _count(self, call: Inbound, model: str, terms: Terms) -> Reply:
        body, _ = json_object(call.body or b"{}")
        if body is None:
            raise self.not_json()
        _check_model(model, "countTokens", terms)
        request = read_count(body, model, terms)
        tokens = prompt_tokens(request.messages, request.tools, request.schema)
        return Reply(
            orjson.dumps({"totalTokens": tokens, "promptTokensDetails": modalities(request, tokens)})
        )

    def headers(self, request_id: str) -> Headers:
        return []  # a call is known by the responseId of its answer

    def limit_headers(self, meters: Sequence[Meter], now: float, unix_s: int) -> Headers:
        return []  # the API tells its limits in refusals only

    def over_limit(self, hit: LimitHit) -> ApiError:
        return gemini_errors.over_limit(hit)

    def injected(self, status: int, code: str | None) -> ApiError:
        return gemini_errors.injected(status, code)

    def not_json(self) -> ApiError:
        return gemini_errors.not_json()

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        return gemini_errors.error_body(error)


def _target(call: Inbound) -> tuple[str, str]:
    """Model and method of a path, each empty where it has none."""
    if not call.path.startswith(_MODELS):
        return "", ""
    rest = call.path.partition("/models/")[2]
    model, colon, method = rest.rpartition(":")
    # A colon may be the name's own, as in llama3:8b, which `all_models` lets everybody ask for.
    return (model, method) if colon and (method in _METHODS or call.method == "POST") else (rest, "")


def _asked(call: Inbound, name: str) -> str:
    """The first value of a query parameter, empty without one."""
    return parse_qs(call.query).get(name, [""])[0] if call.query else ""


def _check_model(model: str, method: str, terms: Terms) -> None:
    purpose = _PURPOSES.get(method)  # None: any model will do
    kind = MODELS.get(model, (purpose or CHAT) if model and terms.all_models else None)
    if kind is None or (purpose and kind != purpose):
        raise gemini_errors.unknown_model(model, method)


def _generate(call: Inbound, request: GenerateRequest, terms: Terms) -> Work:
    answer = answer_chat(request.chat, terms.seed, terms.huge_bytes)
    cached, keep = _cached_tokens(request.chat, answer, terms)
    written = Written(request, answer, cached)
    return Work(
        request.chat.model,
        answer.prompt_tokens,
        answer.completion_tokens,
        partial(_write, call, written, keep),
        stream=request.chat.stream,
        cached_tokens=cached,
    )


def _write(call: Inbound, written: Written, keep: Callable[[], None], stamp: Stamp) -> Reply:
    keep()
    if not written.chat.stream:
        return Reply(orjson.dumps(whole(written, stamp)))
    if _asked(call, "alt") == "sse":
        return Reply(events=as_events(chunks(written, stamp)), content_type=SSE)
    return Reply(events=as_array(chunks(written, stamp)), content_type=JSON)


def _block(call: Inbound, request: ChatRequest) -> Work:
    tokens = prompt_tokens(request.messages, request.tools, request.schema)

    def write(stamp: Stamp) -> Reply:
        said = blocked(request.model, tokens, stamp)
        if not request.stream:
            return Reply(orjson.dumps(said))
        if _asked(call, "alt") == "sse":
            return Reply(events=as_events(iter((said,))), content_type=SSE)
        return Reply(events=as_array(iter((said,))), content_type=JSON)

    return Work(request.model, tokens, 0, write, stream=request.stream)


def _cached_tokens(request: ChatRequest, answer: ChatAnswer, terms: Terms) -> tuple[int, Callable[[], None]]:
    """Implicit caching: the longest beginning met before, and what keeps this prompt for the next."""
    ends = steps(answer.prompt_tokens - 1)
    if not ends:
        return 0, lambda: None
    prompt = prompt_bytes(request.messages, request.tools, request.schema)
    known = beginnings(f"gemini {request.model}", prompt, ends)
    return terms.cache.longest(known), partial(terms.cache.keep, known)


def _embed(body: Mapping[str, Any], model: str, terms: Terms, *, batch: bool) -> Work:
    size = terms.embedding_dimensions
    wanted = read_batch_embed(body, model, size) if batch else [read_embed(body, size)]
    tokens = sum(count_tokens(each.text) for each in wanted)
    return Work(model, tokens, 0, partial(_write_embeddings, model, wanted, tokens, terms, batch))


def _write_embeddings(
    model: str, wanted: Sequence[EmbedRequest], tokens: int, terms: Terms, batch: bool, _: Stamp
) -> Reply:
    vectors = [embedding(model, each.text, each.dimensions, terms.seed) for each in wanted]
    reply = embedded(vectors, tokens, batch=batch)
    if terms.huge_bytes:
        reply["padding"] = "x" * terms.huge_bytes
    return Reply(orjson.dumps(reply))


def _listed(call: Inbound) -> dict[str, Any]:
    """A page of the model list; the token of the next is the name it begins with."""
    names = list(MODELS)
    size, token = _asked(call, "pageSize"), _asked(call, "pageToken")
    count = min(int(size), _MAX_PAGE) if size.isdecimal() and len(size) < 9 and int(size) else 50
    if token and token not in names:
        raise gemini_errors.GeminiError(400, "The page token is invalid.")
    start = names.index(token) if token else 0
    listed: dict[str, Any] = {"models": [model_object(name) for name in names[start : start + count]]}
    if start + count < len(names):
        listed["nextPageToken"] = names[start + count]
    return listed

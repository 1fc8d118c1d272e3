"""Ollama's dialect: its native API, streamed as NDJSON unless a request says otherwise.

    POST /api/chat, /api/generate, /api/embed, /api/embeddings    calls
    GET  /api/tags, /api/ps, /api/version, /                      free
    POST /api/show, /api/pull                                     free

Bodies are read by ollama_read.py and written by ollama_replies.py; ollama_models.py knows which models are here.
Source: Ollama's published API document, docs/api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, answer_chat
from app.simulator.dialect import (
    NDJSON,
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
from app.simulator.limits import Headers, Meter, go_duration, waits_forever, whole_s
from app.simulator.ollama_fields import typed
from app.simulator.ollama_models import VERSION, known_name, pulling, running, shown, tags
from app.simulator.ollama_read import (
    Asked,
    EmbedAsked,
    model_of,
    read_chat,
    read_embed,
    read_generate,
    read_old_embed,
)
from app.simulator.ollama_replies import (
    as_lines,
    chat_lines,
    chat_reply,
    embedded,
    generate_lines,
    generate_reply,
    loaded,
)
from app.simulator.usage import count_tokens
from app.simulator.vectors import embedding

_USUAL_WORDS: Mapping[int, str] = {
    401: "unauthorized",
    404: "model not found",
    429: "too many concurrent requests",
    499: "request canceled",
    500: "llama runner process has terminated: exit status 2",
    503: "server busy, please try again.  maximum pending requests exceeded",
}


class Ollama:
    """The API of an Ollama server."""

    name = "ollama"
    took_header = ""

    def owns(self, call: Inbound) -> bool:
        return call.path in _METHODS

    def is_call(self, call: Inbound) -> bool:
        return call.method == "POST" and call.path in _WORK

    def check_key(self, call: Inbound, wanted: str) -> None:
        # The server itself has no keys; a proxy before it, or the hosted one, wants a bearer's.
        if not same_key(bearer_key(call), wanted):
            raise ApiError(401, "unauthorized")

    def body_of(self, call: Inbound) -> tuple[dict[str, Any] | None, bytes]:
        return json_object(call.body)

    def work(self, call: Inbound, body: Mapping[str, Any], terms: Terms) -> Work:
        return _WORK[call.path](body, terms)

    def page(self, call: Inbound, terms: Terms) -> Reply:
        """Lists, versions, `show` and `pull`."""
        if call.method not in _METHODS.get(call.path, ()):
            raise ApiError(405, "405 method not allowed")
        if call.path == "/":
            return Reply(b"Ollama is running", content_type="text/plain; charset=utf-8")
        if call.path in _LISTS:
            return Reply(orjson.dumps(_LISTS[call.path](terms)))
        body, _ = json_object(call.body)
        if body is None:
            raise self.not_json()
        return _pull(body, terms) if call.path == "/api/pull" else _show(body, terms)

    def headers(self, request_id: str) -> Headers:
        return []

    def limit_headers(self, meters: Sequence[Meter], now: float, unix_s: int) -> Headers:
        return []

    def over_limit(self, hit: LimitHit) -> ApiError:
        if waits_forever(hit.wait_s):
            return ApiError(429, "the request is larger than the limit of a minute")
        retry = [("retry-after", whole_s(hit.wait_s))]
        return ApiError(
            429, f"too many requests, please try again in {go_duration(hit.wait_s)}", headers=retry
        )

    def injected(self, status: int, code: str | None) -> ApiError:
        return ApiError(status, _USUAL_WORDS.get(status, f"the simulator was asked to refuse with {status}"))

    def not_json(self) -> ApiError:
        return ApiError(400, "invalid character in the request body: it is no JSON object")

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        return orjson.dumps({"error": error.message})


def _chat(body: Mapping[str, Any], terms: Terms) -> Work:
    return _answered(read_chat(body, terms), terms, chat=True)


def _generate(body: Mapping[str, Any], terms: Terms) -> Work:
    return _answered(read_generate(body, terms), terms, chat=False)


def _answered(asked: Asked, terms: Terms, *, chat: bool) -> Work:
    if asked.loads_only:
        write = partial(_write_loaded, asked, chat)
        return Work(asked.model, 0, 0, write, stream=asked.chat.stream, load=asked.load)
    try:
        answer = answer_chat(asked.chat, terms.seed, terms.huge_bytes)
    except ApiError as error:
        if error.param != "response_format":
            raise
        raise ApiError(500, f"invalid JSON schema in format: {error.message}") from error
    paid = asked.options.fitted(answer.prompt_tokens)
    write = partial(_write, asked, answer, chat)
    stream = asked.chat.stream
    return Work(asked.model, paid, answer.completion_tokens, write, stream=stream, load=asked.load)


def _write(asked: Asked, answer: ChatAnswer, chat: bool, stamp: Stamp) -> Reply:
    if asked.chat.stream:
        lines = chat_lines if chat else generate_lines
        return Reply(events=as_lines(lines(asked, answer, stamp)), content_type=NDJSON)
    reply = chat_reply if chat else generate_reply
    return Reply(orjson.dumps(reply(asked, answer, stamp)))


def _write_loaded(asked: Asked, chat: bool, stamp: Stamp) -> Reply:
    said = loaded(asked, stamp, chat=chat)
    if asked.chat.stream:
        return Reply(events=as_lines(iter((said,))), content_type=NDJSON)
    return Reply(orjson.dumps(said))


def _embed(body: Mapping[str, Any], terms: Terms) -> Work:
    return _embedding_work(read_embed(body, terms), terms, old=False)


def _old_embed(body: Mapping[str, Any], terms: Terms) -> Work:
    return _embedding_work(read_old_embed(body, terms), terms, old=True)


def _embedding_work(asked: EmbedAsked, terms: Terms, *, old: bool) -> Work:
    tokens = sum(asked.options.fitted(count_tokens(text)) for text in asked.texts)
    return Work(
        asked.model, tokens, 0, partial(_write_embeddings, asked, tokens, terms, old), load=asked.load
    )


def _write_embeddings(asked: EmbedAsked, tokens: int, terms: Terms, old: bool, _: Stamp) -> Reply:
    # `dimensions` cuts a vector and never makes it longer; the server takes no notice of a senseless one.
    whole = terms.embedding_dimensions
    size = min(asked.dimensions, whole) if asked.dimensions > 0 else whole
    vectors = [embedding(known_name(asked.model), text, size, terms.seed) for text in asked.texts]
    reply: dict[str, Any] = {"embedding": vectors[0] if vectors else []}
    if not old:
        reply = embedded(asked.model, vectors, tokens)
    if terms.huge_bytes:
        reply["padding"] = "x" * terms.huge_bytes
    return Reply(orjson.dumps(reply))


def _show(body: Mapping[str, Any], terms: Terms) -> Reply:
    return Reply(orjson.dumps(shown(model_of(body, "ShowRequest", terms))))


def _pull(body: Mapping[str, Any], terms: Terms) -> Reply:
    kind = "PullRequest"
    model = typed(body, kind, "model", "string") or typed(body, kind, "name", "string")
    if not model:
        raise ApiError(400, "invalid model name")
    progress = pulling(model, terms)
    if typed(body, kind, "stream", "bool") is not False:
        return Reply(events=as_lines(progress), content_type=NDJSON)
    *_, last = progress
    if "error" in last:
        raise ApiError(500, last["error"])
    return Reply(orjson.dumps(last))


_LISTS: Mapping[str, Callable[[Terms], dict[str, Any]]] = MappingProxyType(
    {"/api/tags": tags, "/api/ps": running, "/api/version": lambda _: {"version": VERSION}}
)
_WORK: Mapping[str, Callable[[Mapping[str, Any], Terms], Work]] = MappingProxyType(
    {"/api/chat": _chat, "/api/generate": _generate, "/api/embed": _embed, "/api/embeddings": _old_embed}
)
_METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "/": ("GET", "HEAD"),
        **dict.fromkeys(_LISTS, ("GET", "HEAD")),
        **dict.fromkeys((*_WORK, "/api/show", "/api/pull"), ("POST",)),
    }
)

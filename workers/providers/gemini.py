"""Google's Gemini API, v1beta, with an API key: chat, streams, embeddings, transcription by prompt.

    /v1/chat/completions        models/{model}:generateContent, :streamGenerateContent   gemini_request, _reply, _stream
    /v1/responses               the same, through responses.py
    /v1/embeddings              models/{model}:batchEmbedContents, all inputs in one call
    /v1/audio/transcriptions    :generateContent with the sound and an instruction
    /v1/audio/speech            not offered

`provider_options` are laid over the body; for embeddings, unless they hold `requests`, over each request in it.

Source: Gemini API v1beta reference (generativelanguage.googleapis.com).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson

from workers.core.errors import ProviderError, Untranslatable
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply, Usage
from workers.providers.base import (
    Built,
    StreamReader,
    json_of,
    laid_over,
    lost,
    request_id,
    unusable_reply,
)
from workers.providers.chat import data_url
from workers.providers.gemini_errors import error_of
from workers.providers.gemini_reply import (
    MAX_NAME_CHARACTERS,
    ChatReply,
    completion_with_signatures,
    read_reply,
    tier_of,
    usage_of,
)
from workers.providers.gemini_request import bare_model, chat_request
from workers.providers.gemini_stream import RESPONSES, GeminiStream
from workers.providers.responses import as_chat, from_completion
from workers.providers.shape import embeddings_bytes

_CHAT, _EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
_TRANSCRIPTIONS = "/v1/audio/transcriptions"
_TRANSCRIBE = (
    "Write down word for word what is said in this recording. Answer with these words and nothing else."
)
_NO_COUNT = "usage: the API told no number of tokens for these embeddings; 0 stands for unknown"
_BODY_WORDS = frozenset({"model", "stream", "stream_options"})


class Gemini:
    """Translate between our `Call` and Gemini's HTTP API; an Adapter.

    Args:
        headers: sent with every request, over ours.
    """

    def __init__(self, name: str = "gemini", *, headers: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        self._own_headers = {each.lower(): value for each, value in (headers or {}).items()}

    def build_request(self, call: Call, api_key: str | None, *, stream: bool = False) -> Built:
        """The request as Gemini wants it. Raises Untranslatable, for a stream of anything but chat too."""
        if stream and call.endpoint not in (_CHAT, RESPONSES):
            raise Untranslatable("only chat is streamed", provider=self.name, param="stream")
        method = "generateContent"
        if call.endpoint == _CHAT:
            body, warnings = chat_request(self.name, call)
            if stream and body.get("generationConfig", {}).get("candidateCount"):
                raise Untranslatable("only one answer is streamed", provider=self.name, param="n")
        elif call.endpoint == RESPONSES:
            body, warnings = chat_request(self.name, as_chat(self.name, call))
        elif call.endpoint == _TRANSCRIPTIONS:
            body, warnings = self._transcription(call)
        elif call.endpoint == _EMBEDDINGS:
            method = "batchEmbedContents"
            body, warnings = self._embeddings(call)
        else:
            raise Untranslatable(f"not offered by {self.name}", provider=self.name, param="url")
        if call.provider_options and (method == "generateContent" or "requests" in call.provider_options):
            body = laid_over(body, call.provider_options)
        return Built(self._request(call.model, method, body, api_key, stream=stream), warnings)

    def _request(
        self, model: str, method: str, body: dict[str, Any], api_key: str | None, *, stream: bool
    ) -> HttpRequest:
        if stream:
            method = "streamGenerateContent?alt=sse"
        headers = self._headers.copy()
        if api_key:
            headers["x-goog-api-key"] = api_key
        headers.update(self._own_headers)
        return HttpRequest("POST", f"/v1beta/{_path(model)}:{method}", headers, json_of(self.name, body))

    def parse_response(self, call: Call, response: HttpResponse) -> Reply:
        """Read a success. Raises ContentBlocked when a filter kept all of it back, UnusableReply for no answer."""
        with unusable_reply(self.name, response):
            if call.endpoint == _EMBEDDINGS:
                return self._embedded(call, response)
            read = read_reply(self.name, call.model, response)
            if call.endpoint == _TRANSCRIPTIONS:
                return self._transcribed(read, response)
            reply = _reply(completion_with_signatures(read), read, response)
            return from_completion(call, reply) if call.endpoint == RESPONSES else reply

    def parse_stream(self, call: Call, headers: Mapping[str, str]) -> StreamReader:
        """Read a streamed chat answer."""
        return GeminiStream(self.name, call, headers)

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """Read a failure; any bytes give a ProviderError."""
        return error_of(self.name, response)

    # --- embeddings

    def _embeddings(self, call: Call) -> tuple[dict[str, Any], tuple[str, ...]]:
        body, options = call.body, call.provider_options
        inputs = body.get("input")
        listed = [inputs] if isinstance(inputs, str) else inputs
        if listed is None and options:
            listed = []
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            raise self._refused("expected a string or an array of strings; token ids are not taken", "input")
        if body.get("encoding_format") not in (None, "float", "base64"):
            raise self._refused("expected float or base64", "encoding_format")
        common: dict[str, Any] = {"model": _path(call.model)}
        if body.get("dimensions") is not None:
            common["outputDimensionality"] = body["dimensions"]
        requests = [{**common, "content": {"parts": [{"text": text}]}} for text in listed]
        if options and "requests" not in options:
            requests = [laid_over(request, options) for request in requests or [common]]
        known = _BODY_WORDS | {"input", "dimensions", "encoding_format"}
        return {"requests": requests}, lost(self.name, _rest(body, known))

    def _embedded(self, call: Call, response: HttpResponse) -> Reply:
        data = orjson.loads(response.body)
        vectors = [each["values"] for each in data["embeddings"]]
        inputs = call.body.get("input")
        if inputs and len(vectors) != (1 if isinstance(inputs, str) else len(inputs)):
            raise ValueError("not one embedding for each input")
        if not vectors or not all(map(_is_vector, vectors)):
            raise ValueError("embeddings that are no lists of numbers")
        usage = Usage(input_tokens=usage_of(data).input_tokens)
        model = call.model[:MAX_NAME_CHARACTERS]
        encoding = str(call.body.get("encoding_format") or "float")
        try:
            body = embeddings_bytes(vectors, model=model, usage=usage, encoding=encoding)
        except (struct.error, OverflowError) as error:
            raise ValueError("numbers too large for an embedding") from error
        warnings = () if usage.input_tokens else (_NO_COUNT,)
        return Reply(
            body, usage, model, request_id(response.headers), warnings, tier_of(data, response.headers)
        )

    # --- transcription

    def _transcription(self, call: Call) -> tuple[dict[str, Any], tuple[str, ...]]:
        body = call.body
        media_type, data = self._sound(call)
        if body.get("response_format") not in (None, "json", "text"):
            raise self._refused("expected json or text", "response_format")
        for name in ("include", "timestamp_granularities"):
            if body.get(name):
                raise self._refused(f"{self.name} tells neither times nor probabilities of words", name)
        words = [_TRANSCRIBE]
        if language := body.get("language"):
            words.append(f"The language is {language}.")
        if prompt := body.get("prompt"):
            words.append(f"For the style and the spelling of names: {prompt}")
        told: dict[str, Any] = {}
        if data:
            parts = [{"text": "\n".join(words)}, {"inlineData": {"mimeType": media_type, "data": data}}]
            told["contents"] = [{"role": "user", "parts": parts}]
        left = []
        if body.get("temperature") is not None:
            if call.traits.takes_sampling:
                told["generationConfig"] = {"temperature": body["temperature"]}
            else:
                left.append("temperature")
        known = _BODY_WORDS | {"file", "file_url", "response_format", "language", "prompt", "temperature"}
        known |= {"include", "timestamp_granularities"}
        return told, lost(self.name, [*left, *_rest(body, known)])

    def _sound(self, call: Call) -> tuple[str, str]:
        """Media type and base64 of what stands in `file` or `file_url`; empty when the options bring it."""
        given = [name for name in ("file", "file_url") if call.body.get(name) is not None]
        param = given[-1] if given else "file_url"
        url = call.body.get(param)
        media_type, data = data_url(url) if isinstance(url, str) else ("", "")
        if len(given) == 2:
            raise self._refused("give the sound once, here or as `file`", param)
        if not data and not (url is None and call.provider_options):
            raise self._refused("expected a data: URL with the sound", param)
        return media_type, data

    def _transcribed(self, read: ChatReply, response: HttpResponse) -> Reply:
        choice, usage = read.answer.choices[0], read.answer.usage
        counted = {
            "type": "tokens",
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        reply = _reply(orjson.dumps({"text": choice.text or "", "usage": counted}), read, response)
        if choice.finish_reason == "stop":
            return reply
        return replace(reply, warnings=(*reply.warnings, f"text: it is not whole ({choice.finish_reason})"))

    def _refused(self, why: str, param: str) -> Untranslatable:
        return Untranslatable(why, provider=self.name, param=param)


def _path(model: str) -> str:
    bare = bare_model(model)
    if bare.startswith("tunedModels/"):
        return f"tunedModels/{quote(bare.removeprefix('tunedModels/'), safe='')}"
    return f"models/{quote(bare, safe='')}"


def _is_vector(values: Any) -> bool:
    return isinstance(values, list) and len(values) > 0 and set(map(type, values)) <= {int, float}


def _rest(body: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return [name for name, value in body.items() if name not in known and value is not None]


def _reply(body: bytes, read: ChatReply, response: HttpResponse) -> Reply:
    answer = read.answer
    asked = request_id(response.headers) or answer.id or None
    return Reply(body, answer.usage, answer.model, asked, read.warnings, read.tier)

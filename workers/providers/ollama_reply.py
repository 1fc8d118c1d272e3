"""Read what Ollama answers: whole objects and NDJSON streams, as OpenAI's objects. Pure.

Ollama names no answer, so `id` is made of the answer's own time, and the calls of one are named call_0, call_1, ...
where the server gives no names (older versions). Thoughts are part of `eval_count` and not counted apart. A count
that is missing is 0: Ollama leaves it out where it evaluated nothing, as when only a model was loaded.

Source: Ollama's published API document and the response types of its official clients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.base import request_id, unusable_reply
from workers.providers.chat import ToolCall
from workers.providers.ollama_errors import error_from_sentence, error_text
from workers.providers.responses import from_completion
from workers.providers.shape import (
    Answer,
    Choice,
    ChunkWriter,
    FinishReason,
    completion_bytes,
    created_of,
    embeddings_bytes,
)
from workers.providers.streams import LineReader

_MAX_MODEL_CHARACTERS = 200  # it is stored inside the result, whose size the database bounds
_MAX_TOKENS = 2**53  # what JSON readers and the database count exactly
_NO_DIGITS = re.compile(r"[^0-9]+")
_NO_LOGPROBS = "logprobs: this server gave none; it is too old for them"


def read_object(provider: str, response: HttpResponse) -> dict[str, Any]:
    """The answer's object. Raises ValueError or TypeError for none, ProviderError for an error that it tells."""
    data = orjson.loads(response.body)
    if not isinstance(data, dict):
        raise TypeError("no object")
    if "error" in data:
        raise error_from_sentence(provider, error_text(data["error"]), _failed(data, response))
    return data


def completion(call: Call, data: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """The chat.completion of an answer from /api/chat or /api/generate. Raises ValueError, KeyError, TypeError."""
    if data.get("done") is False:
        raise ValueError("it is not done")
    message = _message(data)
    calls = _calls(message, 0)
    text = _text(message, "content")
    choice = Choice(
        text if text or not calls else None, _finish_reason(data, calls), calls, _text(message, "thinking")
    )
    usage, model = usage_of(data), _model(data)
    answer = Answer(_id(data), model, [choice], usage, _created_s(data, headers))
    logprobs = _logprobs(data)
    return _reply(call, answer, logprobs, headers)


def text_completion(call: Call, data: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """The text_completion of an answer from /api/generate."""
    reply = completion(call, data, headers)
    return replace(reply, body=_as_text(reply.body))


def embeddings(call: Call, data: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """The list of embeddings of an answer from /api/embed, as many as were asked for."""
    vectors = data["embeddings"]
    if not isinstance(vectors, list) or not all(_is_vector(vector) for vector in vectors):
        raise ValueError("the embeddings are no lists of numbers")
    asked = None if "input" in call.provider_options else call.body.get("input")
    if asked is not None and len(vectors) != (len(asked) if isinstance(asked, list) else 1):
        raise ValueError(f"{len(vectors)} embeddings for another number of inputs")
    usage, model = usage_of(data), _model(data)
    encoding = "base64" if call.body.get("encoding_format") == "base64" else "float"
    try:
        body = embeddings_bytes(vectors, model=model, usage=usage, encoding=encoding)
    except OverflowError as error:
        raise ValueError("a number is too large for 32 bits") from error
    return Reply(body, usage, model, request_id(headers))


def usage_of(data: Mapping[str, Any]) -> Usage:
    """The counts of an answer. Raises ValueError for what is no count."""
    return Usage(_count(data.get("prompt_eval_count")), _count(data.get("eval_count")))


class Stream:
    """One NDJSON answer of /api/chat or /api/generate."""

    def __init__(self, provider: str, call: Call, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._call = call
        self._response = HttpResponse(200, headers, b"")
        self._lines = LineReader()
        self._writer = ChunkWriter()
        self._calls = 0
        self._logprobs: list[Any] = []
        self._end: tuple[FinishReason, Usage] | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that `data` completes. Raises UnusableReply, and what an error line says."""
        with unusable_reply(self._provider, self._response):
            return [chunk for line in self._lines.feed(data) for chunk in self._read(line)]

    def finish(self) -> Reply:
        """The whole answer. Raises UnusableReply for a stream without its last line."""
        with unusable_reply(self._provider, self._response):
            for line in self._lines.finish():
                self.feed(line + b"\n")
            if self._end is None:
                raise ValueError("the stream ended before its last line")
            answer = self._writer.answer(*self._end)
            reply = _reply(self._call, answer, self._logprobs, self._response.headers)
            if self._call.endpoint == "/v1/completions":
                return replace(reply, body=_as_text(reply.body))
            return from_completion(self._call, reply) if self._call.endpoint == "/v1/responses" else reply

    def _read(self, line: bytes) -> Iterator[bytes]:
        # What a server says after its last line belongs to no answer.
        if not line.strip() or self._end is not None:
            return
        data = read_object(self._provider, replace(self._response, body=line))
        if not self._writer.id:
            self._writer.id, self._writer.model = _id(data), _model(data)
            self._writer.created = _created_s(data, self._response.headers)
        chunks = list(self._deltas(_message(data)))
        if logprobs := _logprobs(data):
            self._logprobs += logprobs
            chunks = chunks or [self._writer.text("")]
            chunks[-1] = _with_logprobs(chunks[-1], logprobs)
        if data.get("done") is True:
            self._end = (_finish_reason(data, range(self._calls)), usage_of(data))
            chunks.append(self._writer.end(*self._end))
        yield from (map(_as_text, chunks) if self._call.endpoint == "/v1/completions" else chunks)

    def _deltas(self, message: Mapping[str, Any]) -> Iterator[bytes]:
        if thoughts := _text(message, "thinking"):
            yield self._writer.reasoning(thoughts)
        if words := _text(message, "content"):
            yield self._writer.text(words)
        for call in _calls(message, self._calls):
            yield self._writer.call(self._calls, id=call.id, name=call.name, arguments=call.arguments)
            self._calls += 1


def _failed(data: Mapping[str, Any], response: HttpResponse) -> HttpResponse:
    """The response as it would have been, had the error come before the status."""
    status = data.get("status")
    return replace(response, status=status if isinstance(status, int) and 400 <= status < 600 else 500)


def _message(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message of a chat's answer; that of /api/generate stands in the answer itself."""
    if "response" in data and "message" not in data:
        return {"content": data["response"], "thinking": data.get("thinking")}
    message = data["message"]
    if not isinstance(message, dict):
        raise TypeError("the message is no object")
    return message


def _text(message: Mapping[str, Any], name: str) -> str:
    text = message.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"{name} is no text")
    return text


def _calls(message: Mapping[str, Any], begin: int) -> list[ToolCall]:
    """The calls of a message; `begin` counts those of the messages before it."""
    found = message.get("tool_calls")
    return [_call(call, begin + k) for k, call in enumerate(found)] if found else []


def _call(call: Mapping[str, Any], k: int) -> ToolCall:
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(function["name"], str) or not isinstance(arguments, dict | None):
        raise TypeError("a tool call without a name or with arguments that are no object")
    return ToolCall(
        str(call.get("id") or f"call_{k}"), function["name"], orjson.dumps(arguments or {}).decode()
    )


def _finish_reason(data: Mapping[str, Any], calls: Sequence[Any]) -> FinishReason:
    """`load`, `unload` and the empty reason of older versions end an answer as `stop` does."""
    if data.get("done_reason") == "length":
        return "length"
    return "tool_calls" if calls else "stop"


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_TOKENS:
        raise ValueError(f"{str(value)[:40]} is no count of tokens")
    return value


def _model(data: Mapping[str, Any]) -> str:
    return str(data.get("model") or "")[:_MAX_MODEL_CHARACTERS]


def _id(data: Mapping[str, Any]) -> str:
    """A name of the answer's own: digits of its time, to the nanosecond."""
    digits = _NO_DIGITS.sub("", str(data.get("created_at") or "")[:40])
    return f"chatcmpl-{digits or 0}"


def _created_s(data: Mapping[str, Any], headers: Mapping[str, str]) -> int:
    """Unix seconds; the Date header's where `created_at` (RFC 3339) cannot be read."""
    try:
        return max(0, int(datetime.fromisoformat(data["created_at"]).timestamp()))
    except (KeyError, ValueError, TypeError, OverflowError):
        return created_of(headers)


def _reply(call: Call, answer: Answer, logprobs: Sequence[Any], headers: Mapping[str, str]) -> Reply:
    body = completion_bytes(answer)
    if logprobs:
        body = _with_logprobs(body, logprobs)
    missing = bool(call.body.get("logprobs")) and not logprobs and answer.usage.output_tokens > 0
    return Reply(body, answer.usage, answer.model, request_id(headers), (_NO_LOGPROBS,) if missing else ())


def _logprobs(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As OpenAI tells them, where both lists and bytes are always there."""
    found = data.get("logprobs")
    return [{**_logprob(token), "top_logprobs": _tops(token)} for token in found] if found else []


def _tops(token: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_logprob(each) for each in token.get("top_logprobs") or ()]


def _logprob(token: Mapping[str, Any]) -> dict[str, Any]:
    said, logprob, raw = token["token"], token["logprob"], token.get("bytes")
    if type(said) is not str or type(logprob) not in (float, int):
        raise TypeError("a log probability that is none")
    if raw is not None and not (isinstance(raw, list) and {int}.issuperset(map(type, raw))):
        raise TypeError("bytes of a token that are none")
    return {"token": said, "logprob": logprob, "bytes": raw}


def _with_logprobs(body: bytes, logprobs: Sequence[Any]) -> bytes:
    """A chat.completion, or a chunk of one, with its log probabilities."""
    data = orjson.loads(body)
    data["choices"][0]["logprobs"] = {"content": logprobs, "refusal": None}
    return orjson.dumps(data)


def _as_text(body: bytes) -> bytes:
    """A chat.completion, or a chunk of one, as a text_completion."""
    data = orjson.loads(body)
    choice = data["choices"][0]
    said = choice.pop("message", None) or choice.pop("delta")
    choice["text"] = said.get("content") or ""
    if said.get("reasoning_content"):
        choice["reasoning_content"] = said["reasoning_content"]
    return orjson.dumps(
        {**data, "id": str(data["id"]).replace("chatcmpl-", "cmpl-"), "object": "text_completion"}
    )


def _is_vector(vector: Any) -> bool:
    return isinstance(vector, list) and {float, int}.issuperset(map(type, vector))

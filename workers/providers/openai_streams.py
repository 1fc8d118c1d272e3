"""Streamed answers of OpenAI's API and of servers that speak it: chunks out, the whole answer at the end. Pure.

`ChatStream` puts a chat.completion together from its chunks; `ResponseStream` waits for the event that carries the
whole response. Both pass the server's own JSON on.

Source: OpenAI's published OpenAPI document: CreateChatCompletionStreamResponse, ResponseStreamEvent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from workers.core.messages import Call, HttpResponse, Reply
from workers.providers.base import unusable_reply
from workers.providers.openai_errors import one_line, reported
from workers.providers.openai_replies import CHAT, RESPONSES, parse_usage, read_object
from workers.providers.streams import EventReader, ServerEvent

_DONE = b"[DONE]"
# Said once in a stream of deltas, or each time anew; everything else that is text comes in pieces.
_WHOLE = frozenset({"id", "name", "role", "type"})
# What the whole answer repeats of its chunks.
_HEAD = ("id", "created", "model", "service_tier", "system_fingerprint")


class _Stream:
    """What both have in common: cutting, parsing, errors that stand where an answer was promised."""

    def __init__(self, provider: str, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._response = HttpResponse(200, headers, b"")
        self._events = EventReader()
        self._ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks (JSON objects) that `data` completes.

        Raises: ProviderError; UnusableReply for what is no chunk.
        """
        return self._read(lambda: self._events.feed(data))

    def finish(self) -> Reply:
        """The whole answer. Raises UnusableReply for a stream that was cut short, ProviderError."""
        self._read(self._events.finish)
        with unusable_reply(self._provider, self._response):
            return self._whole()

    def _read(self, cut: Callable[[], list[ServerEvent]]) -> list[bytes]:
        chunks: list[bytes] = []
        with unusable_reply(self._provider, self._response):
            for event in cut():
                if self._ended or event.data == _DONE:
                    self._ended = True
                    break
                chunk = orjson.loads(event.data)
                if chunk.get("error") or "error" in (event.event, chunk.get("type")):
                    raise reported(self._provider, chunk.get("error") or chunk, self._response.headers)
                self._take(chunk)
                chunks.append(one_line(event.data, chunk))
        return chunks

    def _take(self, chunk: dict[str, Any]) -> None:
        raise NotImplementedError

    def _whole(self) -> Reply:
        raise NotImplementedError


class ChatStream(_Stream):
    """A streamed chat completion."""

    def __init__(self, provider: str, headers: Mapping[str, str]) -> None:
        super().__init__(provider, headers)
        self._head: dict[str, Any] = {}
        self._usage: Any = None
        self._choices: dict[int, _Choice] = {}

    def _take(self, chunk: dict[str, Any]) -> None:
        for name in _HEAD:
            if chunk.get(name) is not None:
                self._head[name] = chunk[name]
        self._usage = chunk.get("usage") or self._usage
        for each in chunk.get("choices") or ():
            self._choices.setdefault(_index(each), _Choice()).take(each)

    def _whole(self) -> Reply:
        unfinished = [index for index, choice in self._choices.items() if not choice.finish_reason]
        # Usage comes after the last choice: a stream without it and without its end mark was cut before it.
        if not self._choices or unfinished or not (self._ended or self._usage):
            raise ValueError("the stream was cut short")
        completion = {
            "id": "",
            "object": "chat.completion",
            "created": 0,
            "model": "",
            **self._head,
            "choices": [choice.whole(index) for index, choice in sorted(self._choices.items())],
            "usage": self._usage,
        }
        return read_object(self._provider, CHAT, completion, self._response, orjson.dumps(completion))


class _Joined:
    """An object told in deltas: names come once, texts in pieces that are joined at the end."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._others: dict[str, Any] = {}

    def take(self, delta: Mapping[str, Any]) -> None:
        for name, value in delta.items():
            if isinstance(value, str) and name not in _WHOLE:
                self._texts.setdefault(name, []).append(value)
            elif isinstance(value, list) and isinstance(self._others.get(name), list):
                self._others[name] = [*self._others[name], *value]
            elif value and not (name in _WHOLE and self._others.get(name)):
                self._others[name] = value

    def whole(self) -> dict[str, Any]:
        return {**self._others, **{name: "".join(pieces) for name, pieces in self._texts.items()}}


class _Choice:
    """One choice as far as it has come."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._message = _Joined()  # content, refusal, and the thoughts that compatible servers show
        self._parts: dict[str, _Joined] = {}  # audio; function_call of old servers
        self._calls: dict[int, _Call] = {}
        self._places: dict[int, int] = {}  # a call's index as told -> its place here
        self._logprobs: dict[str, list[Any]] = {}

    def take(self, each: dict[str, Any]) -> None:
        delta = dict(each.get("delta") or {})
        for call in delta.pop("tool_calls", None) or ():
            self._calls.setdefault(self._index(call), _Call()).take(call)
        for name in [name for name, value in delta.items() if isinstance(value, dict)]:
            self._parts.setdefault(name, _Joined()).take(delta.pop(name))
        self._message.take(delta)
        for name, tokens in (each.get("logprobs") or {}).items():
            if tokens:
                self._logprobs.setdefault(name, []).extend(tokens)
        self.finish_reason = each.get("finish_reason") or self.finish_reason

    def _index(self, call: dict[str, Any]) -> int:
        if call.get("index") is not None:
            told = _index(call)
            place = self._places.get(told, told)
            begun = self._calls.get(place)
            # Gemini's compatible endpoint counts every call as 0: another id with a name begins another call.
            if begun is not None and begun.differs(call):
                place = max(self._calls) + 1
            self._places[told] = place
            return place
        # Some servers count nothing: there an id begins a call.
        return len(self._calls) if call.get("id") or not self._calls else max(self._calls)

    def whole(self, index: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": "", "refusal": None, **self._message.whole()}
        message |= {name: part.whole() for name, part in self._parts.items()}
        if self._calls:
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        if not message["content"] and (self._calls or message["refusal"]):
            message["content"] = None
        logprobs = {"content": None, "refusal": None, **self._logprobs} if self._logprobs else None
        reason = self.finish_reason
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}


class _Call:
    """One tool call as far as it has come."""

    def __init__(self) -> None:
        self._id: Any = None
        self._names = _Joined()
        self._function = _Joined()

    def differs(self, call: dict[str, Any]) -> bool:
        """Whether the delta begins a call of its own."""
        named = call.get("function") or call.get("custom") or {}
        return bool(self._id and call.get("id") and named.get("name") and call["id"] != self._id)

    def take(self, call: dict[str, Any]) -> None:
        self._id = self._id or call.get("id")
        self._names.take({"id": call.get("id"), "type": call.get("type")})
        self._function.take(call.get("function") or call.get("custom") or {})

    def whole(self) -> dict[str, Any]:
        names = {"id": "", "type": "function", **self._names.whole()}
        empty = {"name": "", "input": ""} if names["type"] == "custom" else {"name": "", "arguments": ""}
        return {**names, names["type"]: {**empty, **self._function.whole()}}


def _index(part: dict[str, Any]) -> int:
    index = part.get("index") or 0
    if not isinstance(index, int):
        raise TypeError(f"{str(index)[:40]} is no index")
    return index


class ResponseStream(_Stream):
    """A streamed response: its events are the chunks."""

    def __init__(self, provider: str, headers: Mapping[str, str]) -> None:
        super().__init__(provider, headers)
        self._final: dict[str, Any] | None = None

    def _take(self, chunk: dict[str, Any]) -> None:
        kind = chunk.get("type")
        if kind == "response.failed":
            response = chunk["response"]
            usage = parse_usage(response.get("usage") or {})
            raise reported(self._provider, response.get("error"), self._response.headers, usage=usage)
        if kind in ("response.completed", "response.incomplete"):
            self._final = chunk["response"]

    def _whole(self) -> Reply:
        if self._final is None:
            raise ValueError("the stream was cut short")
        body = orjson.dumps(self._final)
        return read_object(self._provider, RESPONSES, self._final, self._response, body)


def stream_of(provider: str, call: Call, headers: Mapping[str, str]) -> ChatStream | ResponseStream:
    """The reader of the call's endpoint."""
    return (ResponseStream if call.endpoint == RESPONSES else ChatStream)(provider, headers)

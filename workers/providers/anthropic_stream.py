"""Read Anthropic's streamed message. Pure.

Source: Anthropic's published page on streaming: message_start, content_block_start, _delta and _stop, message_delta,
message_stop, ping, error; events that are not known yet have to be passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from workers.core.errors import UnusableReply
from workers.core.messages import HttpResponse, Reply
from workers.providers.anthropic_errors import blocked, error_of
from workers.providers.anthropic_reply import finish_reason, left_out, name_of, reply_of, usage_of
from workers.providers.base import request_id, unusable_reply
from workers.providers.shape import ChunkWriter, created_of
from workers.providers.streams import EventReader, ServerEvent


class MessageStream:
    """A `StreamReader` for one message.

    Args:
        answer_tool: the tool whose input is the answer, or empty; its input is told as the message's text.
        shaped: makes the endpoint's own reply of the chat reply.
    """

    def __init__(
        self, name: str, headers: Mapping[str, str], answer_tool: str, shaped: Callable[[Reply], Reply]
    ) -> None:
        self._name = name
        self._response = HttpResponse(200, headers, b"")
        self._answer_tool = answer_tool
        self._shaped = shaped
        self._events = EventReader()
        self._writer = ChunkWriter(created=created_of(headers))
        self._usage: dict[str, Any] = {}
        self._call_of: dict[int, int] = {}  # place of the block -> place of the call
        self._answer_at: int | None = None
        self._held: list[str] = []
        self._said = False
        self._others: dict[Any, None] = {}
        self._stop: dict[str, Any] = {}
        self._ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that `data` completes. Raises UnusableReply, or the ProviderError that the stream tells."""
        with unusable_reply(self._name, self._response):
            return self._read(self._events.feed(data))

    def finish(self) -> Reply:
        """The whole answer. Raises UnusableReply when message_stop never came, ContentBlocked."""
        with unusable_reply(self._name, self._response):
            self._read(self._events.finish())
            if not self._ended:
                raise UnusableReply(
                    "the stream ended before its message_stop",
                    provider=self._name,
                    request_id=request_id(self._response.headers),
                )
            stop_reason, usage = self._stop.get("stop_reason"), usage_of(self._usage)
            if stop_reason == "refusal" and not self._said and not self._call_of:
                error = blocked(self._name, self._stop.get("stop_details"), self._response.headers)
                error.usage = usage
                raise error
            answer = self._writer.answer(finish_reason(stop_reason, self._call_of), usage)
            warnings = left_out(self._name, self._others)
            reply = reply_of(answer, stop_reason, self._usage, self._response.headers, warnings)
            return self._shaped(reply)

    def _read(self, events: list[ServerEvent]) -> list[bytes]:
        chunks: list[bytes] = []
        for event in events:
            data = orjson.loads(event.data)
            kind = data["type"]
            if kind == "content_block_delta":
                chunks += self._delta(data["index"], data["delta"])
            elif kind == "content_block_start":
                chunks += self._start(data["index"], data["content_block"])
            elif kind == "content_block_stop":
                chunks += self._close(data["index"])
            elif kind == "message_start":
                message = data["message"]
                self._writer.id, self._writer.model = name_of(message["id"]), name_of(message["model"])
                self._count(message["usage"])
            elif kind == "message_delta":
                self._stop.update(data["delta"])
                self._count(data.get("usage") or {})
            elif kind == "message_stop":
                chunks += self._end()
            elif kind == "error":
                raise error_of(self._name, HttpResponse(200, self._response.headers, event.data))
        return chunks

    def _start(self, at: int, block: dict[str, Any]) -> list[bytes]:
        kind = block["type"]
        if kind == "text":
            return self._text(block.get("text") or "")
        if kind == "thinking":
            return self._thought(block.get("thinking") or "")
        if kind != "tool_use":
            self._others[kind] = None
            return []
        # Anthropic begins with an empty input; servers that imitate it may send the whole of it here.
        arguments = orjson.dumps(block["input"]).decode() if block.get("input") else ""
        if block["name"] == self._answer_tool:
            if self._answer_at is None:
                self._answer_at = at
                return self._answer(arguments)
            return []
        place = self._call_of[at] = len(self._call_of)
        call_id, tool = name_of(block["id"]), name_of(block["name"])
        return [self._writer.call(place, id=call_id, name=tool, arguments=arguments)]

    def _delta(self, at: int, delta: dict[str, Any]) -> list[bytes]:
        kind = delta["type"]
        if kind == "text_delta":
            return self._text(delta["text"])
        if kind == "thinking_delta":
            return self._thought(delta["thinking"])
        if kind == "input_json_delta" and delta["partial_json"]:
            if at == self._answer_at:
                return self._answer(delta["partial_json"])
            if at in self._call_of:
                return [self._writer.arguments(self._call_of[at], delta["partial_json"])]
        elif kind == "citations_delta":
            self._others["citations"] = None
        return []

    def _close(self, at: int) -> list[bytes]:
        """A tool without parameters gets no input at all; told as an answer that is an empty object."""
        return self._answer("{}") if at == self._answer_at and not self._said else []

    def _text(self, text: str) -> list[bytes]:
        if self._answer_tool:
            self._held.append(text)  # said beside the answer; it counts only if the answer itself never comes
            return []
        return self._answer(text)

    def _answer(self, text: str) -> list[bytes]:
        if not text:
            return []
        self._said = True
        return [self._writer.text(text)]

    def _thought(self, text: str) -> list[bytes]:
        return [self._writer.reasoning(text)] if text else []

    def _count(self, usage: Mapping[str, Any]) -> None:
        """Counts are cumulative, and the last events leave out what the first one told."""
        self._usage.update({what: value for what, value in usage.items() if value is not None})

    def _end(self) -> list[bytes]:
        if self._ended:
            return []
        self._ended = True
        chunks = self._answer("".join(self._held)) if self._answer_at is None else []
        finish = finish_reason(self._stop.get("stop_reason"), self._call_of)
        return [*chunks, self._writer.end(finish, usage_of(self._usage))]

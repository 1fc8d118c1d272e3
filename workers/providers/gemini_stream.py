"""A streamed Gemini answer: server-sent GenerateContentResponse objects, one candidate. Pure.

Usage and finish reason come with the last object, sometimes earlier too: the last word counts. An error may
stand in the stream in place of an answer. A /v1/responses call streams chat chunks as well; its whole answer is a
`response` object.

Source: Gemini API v1beta reference, models.streamGenerateContent with alt=sse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from workers.core.errors import UnusableReply
from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.base import request_id, unusable_reply
from workers.providers.gemini_errors import error_in, error_of
from workers.providers.gemini_reply import (
    MAX_NAME_CHARACTERS,
    ChatReply,
    Said,
    completion_with_signatures,
    ending_of,
    left_out,
    raise_when_blocked,
    read_parts,
    sign,
    text_of,
    tier_of,
    usage_of,
)
from workers.providers.responses import from_completion
from workers.providers.shape import ChunkWriter, FinishReason, created_of
from workers.providers.streams import EventReader

RESPONSES = "/v1/responses"


class GeminiStream:
    """Reads one answer; a StreamReader."""

    def __init__(self, provider: str, call: Call, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._call = call
        self._headers = headers
        self._response = HttpResponse(200, headers, b"")
        self._events = EventReader()
        self._writer = ChunkWriter(model=call.model[:MAX_NAME_CHARACTERS], created=created_of(headers))
        self._said = Said()
        self._usage = Usage()
        self._tier = ""
        self._ending: FinishReason | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that `data` completes. Raises ContentBlocked, UnusableReply, or what an error in it says."""
        with unusable_reply(self._provider, self._response):
            return [chunk for event in self._events.feed(data) for chunk in self._read(event.data)]

    def finish(self) -> Reply:
        """The whole answer. Raises UnusableReply when no finish reason came."""
        with unusable_reply(self._provider, self._response):
            for event in self._events.finish():
                self._read(event.data)
            if self._ending is None:
                raise UnusableReply(
                    "the stream ended before the answer did",
                    provider=self._provider,
                    request_id=request_id(self._headers),
                    usage=self._usage,
                )
            answer = self._writer.answer(self._ending, self._usage)
            warnings = left_out(self._provider, self._said)
            reply = ChatReply(answer, (self._said.signatures,), warnings, self._tier)
            whole = Reply(
                completion_with_signatures(reply),
                self._usage,
                answer.model,
                request_id(self._headers) or answer.id or None,
                warnings,
                self._tier,
            )
            return from_completion(self._call, whole) if self._call.endpoint == RESPONSES else whole

    def _read(self, raw: bytes) -> list[bytes]:
        data = orjson.loads(raw)
        if error_in(data) is not None:
            raise error_of(self._provider, HttpResponse(200, self._headers, raw))
        self._writer.id = text_of(data, "responseId") or self._writer.id
        self._writer.model = text_of(data, "modelVersion") or self._writer.model
        if data.get("usageMetadata"):
            self._usage = usage_of(data)
            self._tier = tier_of(data, self._headers)
        candidates = [each for each in data.get("candidates") or () if not each.get("index")]
        if not candidates:
            raise_when_blocked(self._provider, data, self._headers)
            return []
        return self._chunks(candidates[0])

    def _chunks(self, candidate: Mapping[str, Any]) -> list[bytes]:
        said, had = self._said, len(self._said.calls)
        texts, thoughts = len(said.texts), len(said.thoughts)
        read_parts(candidate, said, self._writer.id)
        chunks = [self._writer.reasoning(thought) for thought in said.thoughts[thoughts:] if thought]
        chunks += [self._writer.text(text) for text in said.texts[texts:] if text]
        chunks += [self._call_chunk(index) for index in range(had, len(said.calls))]
        reason = text_of(candidate, "finishReason")
        if not reason:
            return chunks
        ending = ending_of(self._provider, reason, said.anything, self._usage, self._headers)
        begun, self._ending = (
            self._ending is not None,
            "tool_calls" if said.calls and ending == "stop" else ending,
        )
        return chunks if begun else [*chunks, self._writer.end(self._ending, self._usage)]

    def _call_chunk(self, index: int) -> bytes:
        call = self._said.calls[index]
        chunk = self._writer.call(index, id=call.id, name=call.name, arguments=call.arguments)
        if index not in self._said.signatures:
            return chunk
        data = orjson.loads(chunk)
        sign(data["choices"][0]["delta"]["tool_calls"], {0: self._said.signatures[index]})
        return orjson.dumps(data)

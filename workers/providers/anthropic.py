"""Anthropic's Messages API, and every server that speaks it: chat completions and responses.

    anthropic_request.py   the body: system, messages (anthropic_content.py), tools, schema (anthropic_schema.py),
                           sampling, marks for the prompt cache (anthropic_cache.py)
    anthropic_reply.py     a message as a chat.completion; anthropic_stream.py reads a streamed one
    anthropic_errors.py    error objects

Source: Anthropic's published API reference, POST /v1/messages. Base URL: https://api.anthropic.com.
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.core.errors import ProviderError, Untranslatable
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply
from workers.providers.anthropic_errors import error_of
from workers.providers.anthropic_reply import read_message
from workers.providers.anthropic_request import answer_tool, body_of
from workers.providers.anthropic_stream import MessageStream
from workers.providers.base import Built, json_of, laid_over, unusable_reply
from workers.providers.chat_reading import read_chat
from workers.providers.responses import as_chat, from_completion

_CHAT, _RESPONSES = "/v1/chat/completions", "/v1/responses"
# The last version that takes temperature and top_p: 2026-10-21 answers 400 to them whatever the model, and the task
# types set a temperature.
_VERSION = "2023-06-01"


class Anthropic:
    """Translate between our `Call` and Anthropic's HTTP API, version 2023-06-01.

    Args:
        headers: laid over ours, for example `anthropic-beta`. With a later `anthropic-version` the models have to be
            known as taking no sampling parameters.
    """

    def __init__(self, name: str = "anthropic", *, headers: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "anthropic-version": _VERSION,
        }
        self._own_headers = {each.lower(): value for each, value in (headers or {}).items()}

    def build_request(self, call: Call, api_key: str | None, *, stream: bool = False) -> Built:
        """The call as a message request. Raises Untranslatable for what the API cannot say."""
        chat_call = self._chat_call(call)
        body, warnings = body_of(self.name, chat_call, read_chat(self.name, chat_call))
        body = laid_over(body, call.provider_options)
        body.pop("stream", None)
        headers = self._headers.copy()
        if stream:
            body["stream"] = True
            headers["accept"] = "text/event-stream"
        if api_key:
            headers["x-api-key"] = api_key
        headers.update(self._own_headers)
        return Built(HttpRequest("POST", "/v1/messages", headers, json_of(self.name, body)), tuple(warnings))

    def parse_response(self, call: Call, response: HttpResponse) -> Reply:
        """Read a message. Raises UnusableReply for what is none, ContentBlocked for a refusal without a word."""
        with unusable_reply(self.name, response):
            reply = read_message(self.name, response, answer_tool(self._chat_call(call)))
            return self._shaped(call, reply)

    def parse_stream(self, call: Call, headers: Mapping[str, str]) -> MessageStream:
        """Read a streamed message: chunks of a chat.completion, at the end the endpoint's own reply."""
        tool = answer_tool(self._chat_call(call))
        return MessageStream(self.name, headers, tool, lambda reply: self._shaped(call, reply))

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """Read a failure; any bytes give a ProviderError."""
        return error_of(self.name, response)

    def _chat_call(self, call: Call) -> Call:
        if call.endpoint == _CHAT:
            return call
        if call.endpoint == _RESPONSES:
            return as_chat(self.name, call)
        raise Untranslatable(f"{call.endpoint} is not offered", provider=self.name, param="url")

    def _shaped(self, call: Call, reply: Reply) -> Reply:
        return from_completion(call, reply) if call.endpoint == _RESPONSES else reply

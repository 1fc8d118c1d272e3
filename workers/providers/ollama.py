"""Ollama's native API: chat, text completion and embeddings.

    /v1/chat/completions -> POST /api/chat        /v1/completions -> POST /api/generate
    /v1/responses        -> the same, as a chat   /v1/embeddings  -> POST /api/embed

ollama_request.py says a call in Ollama's words (ollama_context.py: with enough context), ollama_reply.py reads its
answers and streams, ollama_errors.py sorts its failures. The native API is spoken, not the OpenAI-compatible one:
only it takes `num_ctx`, `keep_alive` and `think`, and only it refuses a prompt that is too long instead of
cutting it.

Source: Ollama's published API document (docs/api.md) and the types of its official clients.
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.core.errors import ProviderError, Untranslatable
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply
from workers.providers import ollama_reply
from workers.providers.base import Built, StreamReader, unusable_reply
from workers.providers.ollama_errors import read_error
from workers.providers.ollama_request import Worded, chat, embed, generate
from workers.providers.responses import as_chat, from_completion

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS = "/v1/embeddings"


class Ollama:
    """Translate between our `Call` and Ollama. `keep_alive` and `options` (`num_ctx`, ...) are provider options."""

    def __init__(self, name: str = "ollama", *, headers: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._headers = {each.lower(): value for each, value in (headers or {}).items()}

    def build_request(self, call: Call, api_key: str | None, *, stream: bool = False) -> Built:
        """The request as /api/... wants it. A server of one's own needs no key; a proxy before it may.

        Raises: Untranslatable for what Ollama's API cannot say.
        """
        if call.endpoint == RESPONSES:
            call = as_chat(self.name, call)
        path, worded = self._worded(call, stream=stream)
        headers = {
            "content-type": "application/json",
            "accept": "application/x-ndjson" if stream else "application/json",
        }
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        return Built(HttpRequest("POST", path, headers | self._headers, worded.body), tuple(worded.warnings))

    def _worded(self, call: Call, *, stream: bool) -> tuple[str, Worded]:
        if call.endpoint == CHAT:
            return "/api/chat", chat(self.name, call, stream=stream)
        if call.endpoint == COMPLETIONS:
            return "/api/generate", generate(self.name, call, stream=stream)
        if call.endpoint == EMBEDDINGS and not stream:
            return "/api/embed", embed(self.name, call)
        what = "a stream of embeddings" if call.endpoint == EMBEDDINGS else call.endpoint
        raise Untranslatable(f"{what} is not offered by Ollama", provider=self.name, param="url")

    def parse_response(self, call: Call, response: HttpResponse) -> Reply:
        """Read a success. Raises UnusableReply, or what an error object under a success status says."""
        with unusable_reply(self.name, response):
            data = ollama_reply.read_object(self.name, response)
            if call.endpoint == EMBEDDINGS:
                return ollama_reply.embeddings(call, data, response.headers)
            if call.endpoint == COMPLETIONS:
                return ollama_reply.text_completion(call, data, response.headers)
            reply = ollama_reply.completion(call, data, response.headers)
            return from_completion(call, reply) if call.endpoint == RESPONSES else reply

    def parse_stream(self, call: Call, headers: Mapping[str, str]) -> StreamReader:
        """Read a streamed success: chunks of a chat completion, of a text completion for /v1/completions.

        A /v1/responses call streams chat chunks as well; its whole answer is a `response` object.
        """
        return ollama_reply.Stream(self.name, call, headers)

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """Ollama's `{"error": "..."}`, or whatever else stands there."""
        return read_error(self.name, response)

"""OpenAI's API and every server that speaks it: chat completions, responses, completions, embeddings, sound.

    openai.py          requests, and the four translations together
    openai_audio.py    a transcription's form
    openai_replies.py  answers and usage, endpoint by endpoint
    openai_streams.py  streamed answers
    openai_errors.py   failures, in every shape that such servers give them

The shapes are the same on both sides, so little is changed.

Source: OpenAI's published OpenAPI document; Azure OpenAI's reference for its paths and its key header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from workers.core.errors import ProviderError, Untranslatable
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply
from workers.providers.base import Built, StreamReader, json_of, laid_over, unusable_reply
from workers.providers.openai_audio import form_of
from workers.providers.openai_errors import failure
from workers.providers.openai_replies import CHAT, ENDPOINTS, RESPONSES, SPEECH, TRANSCRIPTIONS, read_reply
from workers.providers.openai_streams import stream_of

# The base URL carries the version, as OPENAI_BASE_URL does everywhere: https://api.openai.com/v1
_ENDPOINT_PREFIX = "/v1"
_JSON = "application/json"
# How the answer comes is the engine's choice, not the caller's.
_TRANSPORT = ("stream", "stream_options")


class OpenAI:
    """Translate between our `Call` and OpenAI's HTTP API."""

    def __init__(
        self,
        name: str = "openai",
        *,
        path: str = "",
        key_header: str = "authorization",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """An adapter for one configured provider.

        Args:
            path: template of the path after the base URL, for servers that put the model there:
                `/openai/deployments/{model}{endpoint}?api-version=...`; the endpoint is without `/v1`.
            key_header: where the key goes: as a bearer token in `authorization`, bare in any other.
            headers: laid over every request's own.
        """
        self.name = name
        self._path = path
        self._key_header = key_header.lower()
        self._headers = {header.lower(): value for header, value in (headers or {}).items()}

    def build_request(self, call: Call, api_key: str | None, *, stream: bool = False) -> Built:
        """The call's own body under the routed model name.

        Raises: Untranslatable for an endpoint that is not served, a stream that it does not have, a sound that is
            not sent along, or work in the background, whose answer nobody would fetch.
        """
        endpoint = call.endpoint
        if endpoint not in ENDPOINTS:
            raise self._refused("this provider has no such endpoint", "url")
        if stream and endpoint not in (CHAT, RESPONSES):
            raise self._refused("this endpoint is not streamed", "stream")
        body = {**call.body, "model": call.model}
        warnings = _fitted(body, call)
        if call.provider_options:
            body = laid_over(body, call.provider_options)
        for name in _TRANSPORT:
            body.pop(name, None)
        if endpoint == RESPONSES and body.get("background"):
            raise self._refused("a batch is in the background already; leave it out", "background")
        if stream:
            body["stream"] = True
            if endpoint == CHAT:
                body["stream_options"] = {"include_usage": True}
        content_type, sent = (
            form_of(self.name, body) if endpoint == TRANSCRIPTIONS else (_JSON, json_of(self.name, body))
        )
        headers = {"content-type": content_type, "accept": _accepted(endpoint, stream)}
        if api_key:
            bare = self._key_header != "authorization"
            headers[self._key_header] = api_key if bare else f"Bearer {api_key}"
        headers.update(self._headers)
        return Built(HttpRequest("POST", self._path_of(call), headers, sent), warnings)

    def parse_response(self, call: Call, response: HttpResponse) -> Reply:
        """The provider's bytes are the answer; sound and plain text come as a JSON object around them.

        Raises: UnusableReply for what is no answer; ProviderError for an error object in its place.
        """
        with unusable_reply(self.name, response):
            return read_reply(self.name, call, response)

    def parse_stream(self, call: Call, headers: Mapping[str, str]) -> StreamReader:
        """A reader of chat chunks, or of the events of a response."""
        return stream_of(self.name, call, headers)

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """The provider's message where there is one; else what the status says, in the same shape."""
        return failure(self.name, response)

    def _path_of(self, call: Call) -> str:
        endpoint = call.endpoint.removeprefix(_ENDPOINT_PREFIX)
        if not self._path:
            return endpoint
        return self._path.replace("{model}", quote(call.model, safe="")).replace("{endpoint}", endpoint)

    def _refused(self, message: str, param: str) -> Untranslatable:
        return Untranslatable(message, provider=self.name, param=param)


def _accepted(endpoint: str, stream: bool) -> str:
    if endpoint in (TRANSCRIPTIONS, SPEECH):
        return "*/*"
    return "text/event-stream" if stream else _JSON


def _fitted(body: dict[str, Any], call: Call) -> tuple[str, ...]:
    """Make the body one that the model takes; what was left out, a sentence each. Changes `body`."""
    warnings: tuple[str, ...] = ()
    if call.endpoint in (CHAT, RESPONSES) and not call.traits.takes_sampling:
        for name in ("temperature", "top_p"):
            # 1 is what such models do anyway, and the one value they let pass.
            if body.get(name) not in (None, 1):
                del body[name]
                warnings += (f"{name}: {call.model} takes no {name}; it was left out",)
    renamed = call.endpoint == CHAT and call.traits.cap_field == "max_completion_tokens"
    if renamed and body.get("max_tokens") is not None:
        if body.get("max_completion_tokens") is None:
            body["max_completion_tokens"] = body["max_tokens"]
        else:
            warnings += ("max_tokens: max_completion_tokens stands beside it; it was left out",)
        del body["max_tokens"]
    if call.endpoint == SPEECH and body.pop("stream_format", None) is not None:
        warnings += ("stream_format: a batch gets the sound whole; it was left out",)
    return warnings

"""Chat requests to Gemini's adapter and answers in its shape."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st

from workers.core.errors import Untranslatable
from workers.core.messages import Call, HttpResponse, Reply
from workers.providers.gemini import Gemini

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
RESPONSES, TRANSCRIPTIONS = "/v1/responses", "/v1/audio/transcriptions"
MODEL = "gemini-2.5-flash"
GEMINI = Gemini()
PNG = "data:image/png;base64,aWNvbg=="
USER: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
# The shapes of the v1beta reference.
ANSWER: dict[str, Any] = {
    "candidates": [
        {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 9,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 12,
        "thoughtsTokenCount": 5,
        "toolUsePromptTokenCount": 2,
        "totalTokenCount": 28,
    },
    "modelVersion": "gemini-2.5-flash-001",
    "responseId": "r1",
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def call(body: dict[str, Any], *, endpoint: str = CHAT, model: str = MODEL, **more: Any) -> Call:
    return Call(endpoint, model, body, **more)


def chat(messages: list[dict[str, Any]] | None = None, *, model: str = MODEL, **body: Any) -> dict[str, Any]:
    """The body that is sent for a chat request."""
    sent = GEMINI.build_request(call({"messages": messages or USER, **body}, model=model), "k").request.body
    read: dict[str, Any] = orjson.loads(sent)
    return read


def refused(*, endpoint: str = CHAT, stream: bool = False, **body: Any) -> str:
    asked = {"messages": USER, **body} if endpoint == CHAT else body
    with pytest.raises(Untranslatable) as caught:
        GEMINI.build_request(call(asked, endpoint=endpoint), None, stream=stream)
    return caught.value.param


def ok(value: Any, **headers: str) -> HttpResponse:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return HttpResponse(200, {name.replace("_", "-"): text for name, text in headers.items()}, body)


def read(value: Any, body: dict[str, Any] | None = None, endpoint: str = CHAT) -> Reply:
    return GEMINI.parse_response(call(body or {"messages": USER}, endpoint=endpoint), ok(value))

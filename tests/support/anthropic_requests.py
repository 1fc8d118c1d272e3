"""Chat requests to Anthropic's adapter, and what came of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from config.catalog import ModelTraits
from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.anthropic import Anthropic

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
NATIVE = ModelTraits(native_schema=True)


def build(
    messages: Any = None, *, traits: ModelTraits | None = None, options: Any = None, **body: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The wire body and the warnings of a chat request."""
    if messages is not None or options is None:
        body = {"messages": HELLO if messages is None else messages, **body}
    call = Call(CHAT, "claude", body, provider_options=options or {}, traits=traits or ModelTraits())
    built = Anthropic().build_request(call, "key")
    return orjson.loads(built.request.body), built.warnings


def refusal(messages: Any = None, **kwargs: Any) -> str:
    """The path that a request is refused with."""
    with pytest.raises(Untranslatable) as refused:
        build(messages, **kwargs)
    assert not refused.value.bytes_sent
    return refused.value.param

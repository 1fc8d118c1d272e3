"""What a request needs a model to be able to do, read from its body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from config.catalog import Ability

# Endpoints that have a route of their own in the catalogue.
ENDPOINT_ROUTES: Mapping[str, str] = {
    "/v1/embeddings": "embeddings",
    "/v1/audio/transcriptions": "transcriptions",
    "/v1/audio/speech": "speech",
}
_ENDPOINT_NEEDS: Mapping[str, Ability] = {
    "/v1/embeddings": "embedding",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/speech": "speech",
}
_PART_NEEDS: Mapping[str, Ability] = {
    "image_url": "vision",
    "input_image": "vision",
    "input_audio": "audio",
}


def needs_of(endpoint: str, body: Mapping[str, Any]) -> frozenset[Ability]:
    """The abilities without which the request cannot be answered. Any JSON is read; what is odd needs nothing."""
    if endpoint in _ENDPOINT_NEEDS:
        return frozenset((_ENDPOINT_NEEDS[endpoint],))
    needs: set[Ability] = {"chat", *_parts_needs(body)}
    if body.get("tools") or body.get("functions"):
        needs.add("tools")
    if _wants_schema(body):
        needs.add("schema")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add("audio")
    return frozenset(needs)


def _wants_schema(body: Mapping[str, Any]) -> bool:
    text = body.get("text")
    asked = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    return isinstance(asked, dict) and asked.get("type") == "json_schema"


def _parts_needs(body: Mapping[str, Any]) -> Iterator[Ability]:
    """From the parts of the messages, in the words of chat completions and of responses."""
    for field in ("messages", "input"):
        messages = body.get(field)
        for message in messages if isinstance(messages, list) else ():
            content = message.get("content") if isinstance(message, dict) else None
            for part in content if isinstance(content, list) else ():
                kind = part.get("type") if isinstance(part, dict) else None
                if isinstance(kind, str) and kind in _PART_NEEDS:
                    yield _PART_NEEDS[kind]

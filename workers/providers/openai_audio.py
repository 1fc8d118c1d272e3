"""A transcription request: the sound out of its data: URL and into a form. Pure.

The Batch API has JSON only, the endpoint takes a form only (multipart/form-data, RFC 7578). The boundary is
derived from the content, so that the same request is the same bytes.

Source: OpenAI's published OpenAPI document, POST /v1/audio/transcriptions; RFC 2397 for data: URLs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from blake3 import blake3

from workers.core.errors import Untranslatable
from workers.providers.chat import data_url

# The endpoint tells sounds apart by their file name's ending.
_ENDINGS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/x-flac": "flac",
}


def form_of(provider: str, body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Content type and bytes of the form.

    Raises: Untranslatable for a sound that is not sent along as a data: URL.
    """
    media_type, sound = _sound(provider, body)
    ending = _ENDINGS.get(media_type) or media_type.partition("/")[2]
    try:
        fields = [
            pair
            for name, value in body.items()
            if name not in ("file", "file_url") and value is not None
            for pair in _fields(name, value)
        ]
        boundary = "form-" + blake3(orjson.dumps([media_type, fields]) + sound).hexdigest()[:40]
    except TypeError as error:  # as base.json_of
        raise Untranslatable(
            f"it cannot be written as JSON ({error})", provider=provider, param="body"
        ) from None
    lines: list[bytes] = []
    for name, text in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{text}\r\n'
        lines.append(head.encode())
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="audio.{ending}"\r\n'
    lines += [head.encode(), f"Content-Type: {media_type}\r\n\r\n".encode(), sound]
    return f"multipart/form-data; boundary={boundary}", b"".join([*lines, f"\r\n--{boundary}--\r\n".encode()])


def _sound(provider: str, body: Mapping[str, Any]) -> tuple[str, bytes]:
    given = [name for name in ("file", "file_url") if body.get(name) is not None]
    param = given[-1] if given else "file_url"
    if len(given) == 2:
        raise Untranslatable("give the sound once, here or as `file`", provider=provider, param=param)
    url = body.get(param)
    media_type, data = data_url(url) if isinstance(url, str) else ("", "")
    if not media_type:
        message = "expected the sound as a data: URL in base64; this version sends nothing else"
        raise Untranslatable(message, provider=provider, param=param)
    try:
        return media_type, base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Untranslatable("the data: URL is no base64", provider=provider, param=param) from None


def _fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Arrays and objects in brackets, as OpenAI's own clients write them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _fields(f"{name}[{key}]", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(f"{name}[]", inner)
    else:
        yield name, value if isinstance(value, str) else orjson.dumps(value).decode()


def _quoted(name: str) -> str:
    """As browsers write it (HTML standard, multipart/form-data): a quote or line end would end the header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")

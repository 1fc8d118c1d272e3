"""Tokens of a request before anybody counted them, without a tokenizer's tables. Pure, and fast: every item asks.

A text's characters are counted by kind (one pass in C): words of ASCII letters, digits, symbols, scripts. The weights
are those of today's tokenizers (100,000 and more entries), chosen to err upwards: what an estimate reserves too much
comes back when the true usage is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from workers.core.images import image_tokens

DEFAULT_OUTPUT_TOKENS = 256
# What a chat format writes around each message, and before the answer (OpenAI's cookbook on counting tokens).
MESSAGE_TOKENS = 4
PRIMING_TOKENS = 3
# A second of sound is 10 tokens at OpenAI and 32 at Google, and 16,000 bytes of usual compression.
_BYTES_PER_SOUND_TOKEN = 500
# A page of a PDF is some 50 kB, and 1,500 to 3,000 tokens as text and picture.
_BYTES_PER_FILE_TOKEN = 20

_LETTERS_PER_TOKEN = 4.5
_WORD_TOKENS = 1.1  # most words are one token, some are two or three
_DIGITS_PER_TOKEN = 2.5  # they stand in groups of three, and groups are seldom full
_SYMBOL_TOKENS = 0.8  # some stand together
_INDENT = "    "  # one token, however long

# First bytes of UTF-8 -> a class of characters, with tokens for each. Continuation bytes and ASCII letters are
# dropped, so that one byte is left for every character that is no ASCII letter.
# The common ones stand first: the counting ends when all characters are counted.
_SCRIPTS: tuple[tuple[bytes, range, float], ...] = (
    (b"l", range(0xC2, 0xCC), 0.6),  # letters of Latin with accents: they cut words in two
    (b"h", range(0xE3, 0xEA), 1.0),  # Chinese, Japanese
    (b"p", range(0xE2, 0xE3), 1.0),  # dashes, quotation marks, arrows
    (b"c", range(0xCC, 0xD5), 0.4),  # Greek, Cyrillic
    (b"k", range(0xEA, 0xEE), 0.8),  # Korean
    (b"a", range(0xD5, 0xE2), 0.6),  # Hebrew, Arabic, scripts of India and South-East Asia, Georgian
    (b"f", range(0xEE, 0xF0), 1.0),  # full-width forms
    (b"e", range(0xF0, 0xF5), 2.5),  # emoji, rare characters
)
_LETTERS = bytes([*range(0x41, 0x5B), *range(0x61, 0x7B)])
_DROPPED = _LETTERS + bytes(range(0x80, 0xC0))


def _class_table() -> bytes:
    table = bytearray(b"." * 256)
    table[0x20] = 0x20
    table[0x30:0x3A] = b"0" * 10
    for mark, first_bytes, _ in _SCRIPTS:
        for byte in first_bytes:
            table[byte] = mark[0]
    return bytes(table)


_CLASSES = _class_table()


def text_tokens(text: str) -> int:
    """Tokens of a text: for prose, code and data of most languages within a third of the truth, mostly above it."""
    if not text:
        return 0
    marks = text.encode("utf-8", "surrogatepass").translate(_CLASSES, _DROPPED)
    spaces, digits = marks.count(b" "), marks.count(b"0")
    symbols, weight = len(marks) - spaces - digits, (len(text) - len(marks)) / _LETTERS_PER_TOKEN
    if not text.isascii():
        symbols, rest = marks.count(b"."), symbols - marks.count(b".")
        for mark, _, tokens in _SCRIPTS:
            if not rest:
                break
            number = marks.count(mark)
            weight += number * tokens
            rest -= number
    # A space begins a word and costs nothing by itself; text without spaces is counted by its letters.
    words = max(spaces - 3 * text.count(_INDENT), weight)
    return int(words * _WORD_TOKENS + digits / _DIGITS_PER_TOKEN + symbols * _SYMBOL_TOKENS) + 1


def estimate_input_tokens(body: Mapping[str, Any]) -> int:
    """Tokens that a request body of any endpoint sends: messages, instructions, pictures, sound, tools, schema.

    0 for a body in no shape that is known.
    """
    tokens = 0
    for name, count in _COUNTED.items():
        if name in body:
            tokens += count(body[name])
    return tokens


def estimate_output_tokens(
    body: Mapping[str, Any], endpoint: str = "", default: int = DEFAULT_OUTPUT_TOKENS
) -> int:
    """Tokens of the answer: the cap that the request names, else `default`, for each of its choices.

    `endpoint` tells an embedding, which has no output, from a response; without it the body's fields must do.
    """
    cap = output_cap(body)
    if cap is None:
        cap = 0 if _is_without_output(body, endpoint) else default
    choices = body.get("n")
    return cap * (choices if isinstance(choices, int) and choices > 0 else 1)


def output_cap(body: Mapping[str, Any]) -> int | None:
    """The most output tokens that a request allows for one choice; None where it names no cap."""
    cap = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    return cap if isinstance(cap, int) and cap > 0 else None


def _is_without_output(body: Mapping[str, Any], endpoint: str) -> bool:
    if endpoint:
        return endpoint == "/v1/embeddings"
    given = body.get("input")
    if given is None or "messages" in body or "instructions" in body:
        return False
    return not (isinstance(given, list) and given and isinstance(given[0], dict))


def _messages(value: object) -> int:
    if not isinstance(value, list):
        return 0
    tokens = PRIMING_TOKENS
    for message in value:
        if isinstance(message, dict):
            content = message.get("content")
            tokens += MESSAGE_TOKENS
            tokens += text_tokens(content) if type(content) is str else _parts(content)
            if "tool_calls" in message:
                tokens += _as_json(message["tool_calls"])
    return tokens


def _input(value: object) -> int:
    """What embeddings, responses and speech call `input`: a text, several, token numbers, or items with parts."""
    if isinstance(value, str):
        return text_tokens(value)
    if not isinstance(value, list):
        return 0
    tokens = 0
    for item in value:
        if isinstance(item, str):
            tokens += text_tokens(item)
        elif isinstance(item, dict):
            content = item.get("content")
            known = text_tokens(content) if isinstance(content, str) else _parts(content)
            tokens += MESSAGE_TOKENS + (known if "content" in item else _as_json(item))
        else:  # numbers of tokens, or lists of them
            tokens += len(item) if isinstance(item, list) else 1
    return tokens


def _parts(value: object) -> int:
    return sum(map(_part, value)) if isinstance(value, list) else 0


def _part(part: object) -> int:
    if isinstance(part, str):
        return text_tokens(part)
    if not isinstance(part, dict):
        return 0
    text = part.get("text")
    if isinstance(text, str):
        return text_tokens(text)
    image = part.get("image_url")
    if image is not None:
        # Chat has an object here, responses an address.
        place = image if isinstance(image, dict) else {"url": image, "detail": part.get("detail")}
        return image_tokens(_text_of(place.get("url")), _text_of(place.get("detail")))
    sound = part.get("input_audio")
    if isinstance(sound, dict):
        return _base64_bytes(sound.get("data")) // _BYTES_PER_SOUND_TOKEN + 1
    file = part.get("file", part)
    if isinstance(file, dict) and "file_data" in file:
        return _base64_bytes(file["file_data"]) // _BYTES_PER_FILE_TOKEN + 1
    return _as_json(part)


def _sound_url(value: object) -> int:
    return _base64_bytes(value) // _BYTES_PER_SOUND_TOKEN + 1


def _as_json(value: object) -> int:
    return text_tokens(orjson.dumps(value).decode()) if value else 0


def _text(value: object) -> int:
    return text_tokens(value) if isinstance(value, str) else 0


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def _base64_bytes(value: object) -> int:
    return len(value) * 3 // 4 if isinstance(value, str) else 0


# A provider's own request may stand in `provider_options`; its bytes count as text, pictures in it too.
_COUNTED = {
    "messages": _messages,
    "input": _input,
    "prompt": _input,
    "instructions": _text,
    "file_url": _sound_url,
    "tools": _as_json,
    "functions": _as_json,
    "response_format": _as_json,
    "text": _as_json,
    "provider_options": _as_json,
}

"""Look at the pictures and sounds of a request before anybody is asked: what cannot be one is named. Pure.

planner.py asks for every line. Judged is what every provider would refuse: no base64, no
bytes, other first bytes than the type has, a header that is cut off, more pixels than a machine should unpack.
Nothing is unpacked here; the line's own text is passed over once. What is spoilt further behind its header
only its provider can see: its refusal is then the item's own error. Length in time is not judged: ten hours of
sound do not fit the longest line, and what a header says of them is not believed.

First bytes by the formats' own documents (PNG, JFIF, GIF89a, BMP, RIFF, FLAC, Ogg RFC 3533, Matroska, ISO 14496-12).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from workers.core.images import JPEG_HEAD_CHARACTERS, size_of_data_url

# No camera makes more; unpacked they are 0.6 GB, which brings down a model server on the reader's own machine.
MAX_PIXELS = 200_000_000

_DATA_URL = re.compile(r"data:(image|audio)/([\w.+-]+)(?:;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FILLERS = b"= \t\r\n"
# Some servers also take base64's other alphabet, or bytes in per cent: no reason to refuse, none to look closer.
_OTHER_FORMS = b"-_%"
_HEAD_CHARACTERS = 64
_PICTURE = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8|GIF8[79]a|BM|RIFF.{4}WEBP", re.DOTALL)
_SOUND = re.compile(
    rb"RIFF|RF64|fLaC|OggS|ID3|\xff[\xe0-\xff]|\x1a\x45\xdf\xa3|.{4}ftyp|FORM|ADIF|#!AMR", re.DOTALL
)
# Types whose first bytes are known. MP3 is none of them: players take one that begins anywhere.
_PICTURE_TYPES = frozenset({"png", "jpeg", "jpg", "gif", "webp"})
_SOUND_TYPES = frozenset(
    {"wav", "wave", "x-wav", "vnd.wave", "flac", "x-flac", "ogg", "webm", "mp4", "m4a", "x-m4a"}
)


class MediaProblem(NamedTuple):
    """What is wrong and where: `param` is a path such as `body.messages[0].content[1].image_url.url`."""

    code: str
    message: str
    param: str


def media_problem(body: Mapping[str, Any]) -> MediaProblem | None:
    """The first picture or sound of a request body that nobody could read; None when there is none such."""
    for name in ("file_url", "file"):
        if isinstance(url := body.get(name), str) and (found := _of_url(url)):
            return MediaProblem(*found, f"body.{name}")
    for name in ("messages", "input"):
        turns = body.get(name)
        for at, turn in enumerate(turns if type(turns) is list else ()):
            # Nearly all content is text, which is passed over in a tenth of a microsecond.
            content = turn.get("content") if type(turn) is dict else None
            for number, part in enumerate(content if type(content) is list else ()):
                if wrong := _of_part(part):
                    place, code, message = wrong
                    return MediaProblem(code, message, f"body.{name}[{at}].content[{number}].{place}")
    return None


def _of_part(part: object) -> tuple[str, str, str] | None:
    """Place within the part, code and message."""
    if not isinstance(part, dict):
        return None
    image = part.get("image_url")  # an object in chat, an address in responses
    place, url = ("image_url.url", image.get("url")) if isinstance(image, dict) else ("image_url", image)
    if isinstance(url, str) and (wrong := _of_url(url)):
        return (place, *wrong)
    sound = part.get("input_audio")
    if not isinstance(sound, dict) or not isinstance(data := sound.get("data"), str):
        return None
    kind = sound.get("format")
    wrong = _of_sound(data, kind if isinstance(kind, str) else "")
    return ("input_audio.data", *wrong) if wrong else None


def _of_url(url: str) -> tuple[str, str] | None:
    """Code and message for a data: URL of a picture or a sound in base64; other addresses are not judged."""
    match = _DATA_URL.match(url[:200])
    if match is None:
        return None
    kind, media_type = match[1].lower(), match[2].lower()
    if kind == "audio":
        return _of_sound(url[match.end() :], media_type)
    return _of_picture(url, url[match.end() :], media_type)


def _of_picture(url: str, data: str, media_type: str) -> tuple[str, str] | None:
    wrong = _wrong_base64(data, "a picture")
    if wrong:
        return "invalid_image", wrong
    head = _head(data)
    if head is None:
        return None
    if not _PICTURE.match(head):
        if media_type not in _PICTURE_TYPES:
            return None
        return "invalid_image", f"expected a picture (image/{media_type}), but its first bytes are of none."
    size = size_of_data_url(url)
    if size is None:
        looked_at = JPEG_HEAD_CHARACTERS if head.startswith(b"\xff\xd8") else _HEAD_CHARACTERS
        text = "expected a whole picture, but it ends before its width and height are said."
        return ("invalid_image", text) if len(data) <= looked_at else None
    if size[0] * size[1] > MAX_PIXELS:
        text = (
            f"expected a picture of at most {MAX_PIXELS:,} pixels, "
            f"but it has {size[0]:,} x {size[1]:,}; make it smaller."
        )
        return "image_too_large", text
    return None


def _of_sound(data: str, media_type: str) -> tuple[str, str] | None:
    wrong = _wrong_base64(data, "a sound")
    if wrong:
        return "invalid_audio", wrong
    head = _head(data)
    if head is None or media_type not in _SOUND_TYPES or _SOUND.match(head):
        return None
    return "invalid_audio", f"expected a sound (audio/{media_type}), but its first bytes are of none."


def _wrong_base64(data: str, what: str) -> str | None:
    """Why a text cannot be base64 of anything. One pass in C over a text that one line holds."""
    letters = data.encode("utf-8", "surrogatepass").translate(None, _FILLERS)
    if not letters:
        return f"expected {what} in base64, but it is 0 bytes long."
    if letters.translate(None, _ALPHABET + _OTHER_FORMS):
        return f"expected {what} in base64, but it has characters that base64 has not."
    # Four letters are three bytes; of a group that is begun one letter alone says nothing.
    if len(letters) % 4 == 1 and not letters.translate(None, _ALPHABET):
        return f"expected {what} in base64, but it is cut off: {len(letters):,} letters are no whole number of bytes."
    return None


def _head(data: str) -> bytes | None:
    """The first bytes; None where they are written in another form than plain base64."""
    begin = data[:_HEAD_CHARACTERS].rstrip("=")
    try:
        return binascii.a2b_base64(begin[: len(begin) // 4 * 4] + _rest(begin), strict_mode=True)
    except ValueError:
        return None


def _rest(begin: str) -> str:
    """The last begun group of four, filled up."""
    rest = begin[len(begin) // 4 * 4 :]
    return rest + "=" * (4 - len(rest)) if len(rest) > 1 else ""

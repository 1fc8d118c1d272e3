"""Lines of an input file that cannot be used, by their entry in FAULTS.md, Bad input."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from tests.support.api import input_line

CHAT = "/v1/chat/completions"
GOOD = input_line(1).strip()


def line(custom_id: str = "bad", **changed: Any) -> bytes:
    whole = {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": json.loads(GOOD)["body"],
        **changed,
    }
    return json.dumps(whole).encode()


def showing(data: bytes) -> bytes:
    """A line that shows a picture."""
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return line(body={"model": "sim-small", "messages": [{"role": "user", "content": parts}]})


def hearing(data: bytes) -> bytes:
    """A line that sends a sound."""
    sound = {"data": base64.b64encode(data).decode(), "format": "wav"}
    content = [{"type": "input_audio", "input_audio": sound}]
    return line(body={"model": "sim-small", "messages": [{"role": "user", "content": content}]})


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PICTURE, SOUND = "body.messages[0].content[1].image_url.url", "body.messages[0].content[0].input_audio.data"
# Entry of FAULTS.md -> the line, and the code, field and words of its refusal.
BAD_LINES: dict[str, tuple[bytes, str, str | None, str]] = {
    "not JSON": (b'{"custom_id": nope}', "invalid_json_line", None, "not parseable as valid JSON"),
    "JSON of the wrong shape": (b'["bad"]', "invalid_json_line", None, "not a JSON object"),
    "a field of the wrong shape": (
        line(body="hi"),
        "invalid_type",
        "body",
        "expected an object, but got a string",
    ),
    "duplicate custom_id": (
        line("r1"),
        "duplicate_custom_id",
        "custom_id",
        "'r1' was already used on line 1",
    ),
    "one 2 MB line": (line("x" * 2_000_000), "line_too_long", None, "longer than 1048576 bytes"),
    "NUL bytes": (b"\0" + line(), "invalid_json_line", None, "not parseable"),
    "lone surrogates": (line("\ud800"), "invalid_json_line", None, "not parseable"),
    "bytes that are no UTF-8": (line().replace(b"bad", b"\xff"), "invalid_json_line", None, "not parseable"),
    "depth 10,000": (b"[" * 10_000 + b"]" * 10_000, "invalid_json_line", None, "not parseable"),
    "unknown model": (line(body={"model": "m9", "messages": []}), "model_not_found", "body.model", "'m9'"),
    "unknown endpoint": (line(url="/v1/x"), "invalid_url", "url", "does not match the batch endpoint"),
    "an image that is no image": (showing(b"<html>" * 9), "invalid_image", PICTURE, "expected a picture"),
    "an image of length 0": (showing(b""), "invalid_image", PICTURE, "0 bytes"),
    "a truncated image": (showing(PNG), "invalid_image", PICTURE, "expected a whole picture"),
    "30,000 x 30,000 pixels": (
        showing(PNG + struct.pack(">II", 30_000, 30_000) + bytes(60)),
        "image_too_large",
        PICTURE,
        "30,000 x 30,000",
    ),
    "audio that is no audio": (hearing(b"<html>" * 9), "invalid_audio", SOUND, "expected a sound"),
    "audio of length 0": (hearing(b""), "invalid_audio", SOUND, "0 bytes"),
    # An hour takes a megabyte even at the 2 kbit/s of the barest codec, and a sound stands in its line.
    "audio of 10 hours": (hearing(b"RIFF" + bytes(900_000)), "line_too_long", None, "longer than"),
}

"""Decide whether what lies in a broker's queue is a message of ours. Pure: bytes and headers in, a reason or None out.

workers/inbound.py asks before kombu and Celery build anything on a message. Whoever can write to the broker can put
anything there; Celery trusts the form of what it gets, and one message of another form ends its whole process.

    of_envelope   what stands in a Redis list or on a Redis channel: kombu's JSON around the body
    of_headers    Celery's protocol 2, https://docs.celeryq.dev/en/stable/internals/protocol.html
    of_body       the arguments: one id, and nothing that makes a worker send messages on
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

# Ours have 1 KB. What is larger is not even parsed.
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_ID_CHARS: Final = 255
_BATCH: Final = r"batch_[0-9a-f]{32}"
BATCH_ID: Final = re.compile(_BATCH)
# Parts that were split off or handed over carry their place, and their provider's name, behind a dot.
SHARD_ID: Final = re.compile(_BATCH + r"(\.[a-z0-9_-]{1,32}){1,40}")
# What beat sends has something in the place of an id, so that all messages have one form.
TICK: Final = re.compile("tick")


class Refusal(StrEnum):
    """Why a message was refused: the label of a metric, so the list stays short."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    DECODE_ERROR = "decode_error"
    TASK_UNKNOWN = "task_unknown"
    ARGUMENTS = "arguments"
    UNSUPPORTED = "unsupported"
    TASK_REJECTED = "task_rejected"


def of_envelope(raw: bytes, *, most_bytes: int = MAX_MESSAGE_BYTES) -> Refusal | None:
    """Whether kombu can read this entry of a queue without falling over it."""
    if len(raw) > most_bytes:
        return Refusal.TOO_LARGE
    try:
        envelope = json.loads(raw)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested without end
        return Refusal.MALFORMED
    if not isinstance(envelope, Mapping):
        return Refusal.MALFORMED
    properties, headers, body = (envelope.get(name) for name in ("properties", "headers", "body"))
    if not (isinstance(properties, Mapping) and isinstance(headers, Mapping) and isinstance(body, str)):
        return Refusal.MALFORMED
    at = properties.get("delivery_info")
    sound = (
        _is_name(properties.get("delivery_tag"))
        and isinstance(at, Mapping)
        and all(isinstance(at.get(name), str) for name in ("exchange", "routing_key"))
        and all(isinstance(envelope.get(name), str) for name in ("content-type", "content-encoding"))
    )
    if not sound:
        return Refusal.MALFORMED
    return None if _decodes(body, properties.get("body_encoding")) else Refusal.DECODE_ERROR


def of_headers(headers: Mapping[str, Any], content_type: object, content_encoding: object) -> Refusal | None:
    """Whether these are the headers of a task that may run now, in a form that Celery can take.

    Another encoding than UTF-8 is refused unread: Python's codecs know some that unpack a kilobyte to a gigabyte.
    """
    if content_type != "application/json" or not _is_utf8(content_encoding):
        return Refusal.DECODE_ERROR
    if not (_is_name(headers.get("id")) and _is_name(headers.get("task"))):
        return Refusal.MALFORMED
    if any(headers.get(name) for name in _NOT_DONE_HERE) or headers.get("timelimit") not in _NO_LIMIT:
        return Refusal.UNSUPPORTED
    sound = all(fits(headers.get(name)) for name, fits in _FORMS.items())
    return None if sound else Refusal.MALFORMED


def of_body(body: bytes, takes: re.Pattern[str]) -> Refusal | None:
    """Whether the body is [[id], {}, {...}] with an id of this form.

    Callbacks, chains and chords in the last part would let whoever wrote the message have us write others.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        return Refusal.TOO_LARGE
    try:
        match json.loads(body):
            case [[str(object_id)], {**kwargs}, {**embed}]:
                pass
            case _:
                return Refusal.ARGUMENTS
    except (ValueError, RecursionError):
        return Refusal.DECODE_ERROR
    if kwargs or not takes.fullmatch(object_id):
        return Refusal.ARGUMENTS
    return Refusal.UNSUPPORTED if any(embed.values()) else None


# "Later" is a time in MongoDB: a message that waits in a worker's memory takes a place there, a hundred take all.
_NOT_DONE_HERE = ("eta", "expires", "shadow", "compression", "stamped_headers", "stamps", "group", "chord")
_NO_LIMIT = (None, [None, None])


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and 0 <= value < 2**31)


_FORMS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("lang", "argsrepr", "kwargsrepr", "origin", "root_id", "parent_id"), _is_text),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting", "ignore_result"), _is_count),
}


def _is_utf8(encoding: object) -> bool:
    return isinstance(encoding, str) and encoding.lower() in ("utf-8", "utf8")


def _decodes(body: str, encoding: object) -> bool:
    if encoding is None:
        return True
    try:
        b64decode(body)
    except (binascii.Error, ValueError):
        return False
    return encoding == "base64"

"""Forms as OpenAI's audio endpoints take them: multipart/form-data (RFC 7578) into an object. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson
from blake3 import blake3

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'\bname="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'\bfilename="([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form."""

    filename: str
    data: bytes


def form_of(content_type: str, body: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The fields of a form, and bytes to hash that do not hang on the client's random boundary.

    Values are texts or `Upload`; a name ending in `[]` or sent twice holds a list. None for what is no form.
    """
    match = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or match is None:
        return None, body
    boundary = b"--" + (match[1] or match[2]).encode("utf-8", "replace")
    fields: dict[str, Any] = {}
    for part in (b"\r\n" + body).split(b"\r\n" + boundary)[1:]:
        head, separator, data = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if separator and name:
            _put(fields, name[1].decode("utf-8", "replace"), _value(head, data))
    option = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
    return fields, orjson.dumps(fields, default=_digest, option=option)


def _value(head: bytes, data: bytes) -> str | Upload:
    filename = _FILENAME.search(head)
    if filename is None:
        return data.decode("utf-8", "replace")
    return Upload(filename[1].decode("utf-8", "replace"), data)


def _put(fields: dict[str, Any], name: str, value: str | Upload) -> None:
    plain = name.removesuffix("[]")
    if plain not in fields:
        fields[plain] = [value] if plain != name else value
    elif isinstance(fields[plain], list):
        fields[plain].append(value)
    else:
        fields[plain] = [fields[plain], value]


def _digest(upload: Any) -> Any:
    return [upload.filename, blake3(upload.data).hexdigest()]

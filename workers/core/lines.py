"""Check one line of an input file, in the Batch API's own words (WIRE: validation errors).

planner.py asks; every answer is either an `InputLine` or the first `LineProblem` found, in the order in
which a reader of the line would meet it.
"""

from __future__ import annotations

from typing import Any

import orjson

from workers.core.messages import InputLine, LineProblem

# What this version can carry out; a create for another one is refused with this list.
SERVED_ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/completions",
    "/v1/audio/transcriptions",
    "/v1/audio/speech",
)

_TEXT_OR_LIST = (str, list)
_NEEDED_BODY_FIELD: dict[str, tuple[str, str, type | tuple[type, ...]]] = {
    "/v1/chat/completions": ("messages", "Messages parameter is required.", list),
    "/v1/embeddings": ("input", "Input parameter is required.", _TEXT_OR_LIST),
    "/v1/responses": ("input", "Input parameter is required.", _TEXT_OR_LIST),
    "/v1/completions": ("prompt", "Prompt parameter is required.", _TEXT_OR_LIST),
    "/v1/audio/transcriptions": (
        "file_url",
        "A file_url parameter is required: the sound as a data: URL.",
        str,
    ),
    "/v1/audio/speech": ("input", "Input parameter is required.", str),
}
EMBEDDINGS = "/v1/embeddings"
MAX_CUSTOM_ID_CHARACTERS = 512
# orjson reads 1024 levels but writes 254: a deeper request could be planned and never be sent.
MAX_LEVELS = 254


def check_line(raw: bytes, line: int, endpoint: str, *, model: str | None = None) -> InputLine | LineProblem:
    """Read one line.

    Args:
        raw: the line's bytes without its line end.
        line: physical number, counted from 1.
        endpoint: the batch's endpoint; the line's `url` must equal it.
        model: a batch-wide override of every line's model.
    """
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return LineProblem("invalid_json_line", "This line is not parseable as valid JSON.", None, line)
    if not isinstance(data, dict):
        return LineProblem("invalid_json_line", "This line is not a JSON object.", None, line)
    if _too_deep(raw, data):
        text = f"This line is nested deeper than {MAX_LEVELS} levels."
        return LineProblem("invalid_json_line", text, None, line)
    return _check_envelope(data, line, endpoint) or _check_body(data, line, endpoint, model)


def _check_envelope(data: dict[str, Any], line: int, endpoint: str) -> LineProblem | None:
    if _is_sound(data, endpoint):
        return None
    custom_id = data.get("custom_id")
    known_id = custom_id if isinstance(custom_id, str) else None
    for field, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if data.get(field) is None:
            text = f"Missing required parameter: '{field}'."
            return LineProblem("missing_required_parameter", text, field, line, known_id)
        if not isinstance(data[field], kind):
            expected = "a string" if kind is str else "an object"
            text = (
                f"Invalid type for '{field}': expected {expected}, but got {json_type(data[field])} instead."
            )
            return LineProblem("invalid_type", text, field, line, known_id)
    if not 1 <= len(data["custom_id"]) <= MAX_CUSTOM_ID_CHARACTERS:
        text = (
            f"custom_id must have 1 to {MAX_CUSTOM_ID_CHARACTERS} characters, got {len(data['custom_id'])}."
        )
        return LineProblem("invalid_request", text, "custom_id", line, known_id and known_id[:64])
    if data["method"] != "POST":
        return LineProblem("invalid_method", "The method must be 'POST'.", "method", line, known_id)
    if data["url"] != endpoint:
        text = "The URL provided for this request does not match the batch endpoint."
        return LineProblem("invalid_url", text, "url", line, known_id)
    return None


def _is_sound(data: dict[str, Any], endpoint: str) -> bool:
    """Whether the envelope is as it should be. Nearly every line is; finding the words for the others takes longer."""
    custom_id = data.get("custom_id")
    return (
        type(custom_id) is str
        and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS
        and data.get("method") == "POST"
        and data.get("url") == endpoint
        and type(data.get("body")) is dict
    )


def _check_body(data: dict[str, Any], line: int, endpoint: str, model: str | None) -> InputLine | LineProblem:
    body, custom_id = data["body"], data["custom_id"]
    if body.get("stream"):
        text = "Chat Completions: Streaming is not supported in the Batch API."
        return LineProblem("streaming_unsupported", text, "body.stream", line, custom_id)
    chosen = model or body.get("model")
    if not isinstance(chosen, str) or not chosen:
        return LineProblem("invalid_request", "Model parameter is required.", "body.model", line, custom_id)
    field, text, kind = _NEEDED_BODY_FIELD[endpoint]
    # Who gives the provider's own request as it is need not say the same in OpenAI's words.
    if not isinstance(body.get(field), kind) and not body.get("provider_options"):
        return LineProblem("invalid_request", text, f"body.{field}", line, custom_id)
    return InputLine(custom_id, data["url"], chosen, body)


def _too_deep(raw: bytes, data: dict[str, Any]) -> bool:
    # As many levels need as many brackets, and counting bytes costs next to nothing.
    if raw.count(b"{") + raw.count(b"[") <= MAX_LEVELS:
        return False
    try:
        orjson.dumps(data)
    except TypeError:
        return True
    return False


def json_type(value: object) -> str:
    """The kind of a JSON value with its article, as error messages name it."""
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def custom_id_of(raw: bytes) -> str:
    """The custom_id of a line that may be broken in other places; empty when it has none."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    custom_id = data.get("custom_id") if isinstance(data, dict) else None
    return custom_id if isinstance(custom_id, str) else ""

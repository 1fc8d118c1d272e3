"""Gemini's contents as messages in OpenAI's shape, in the order that the API demands of turns. Pure.

gemini_read.py asks. A prompt of one text is a plain string here, so that it is answered as in every dialect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.simulator.errors import ApiError
from app.simulator.gemini_errors import GeminiError, refused

_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_IMAGES = frozenset(("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"))
_AUDIO = "audio/"
_OTHERS = ("application/pdf", "text/", "video/")


def messages_of(read: Mapping[str, Any], kind: str = "GenerateContentRequest") -> tuple[dict[str, Any], ...]:
    """The messages of a request, its system instruction first.

    Args:
        read: as `gemini_fields.read_fields` gives it.
        kind: the request's name in refusals.
    Raises: ApiError 400 for empty contents, unknown roles, and calls without their responses.
    """
    contents = read.get("contents", ())
    if not contents:
        raise refused("contents", "contents is not specified", kind)
    messages: list[dict[str, Any]] = []
    instruction = text_of(read.get("systemInstruction", {}).get("parts", ()))
    if instruction:
        messages.append({"role": "system", "content": instruction})
    open_calls: list[dict[str, Any]] = []  # of the turn before, in OpenAI's shape
    for k, content in enumerate(contents):
        at = f"contents[{k}].parts"
        parts = _parts(content, at, kind)
        if content.get("role", "user") not in ("user", "model", "function"):
            raise GeminiError(400, "Please use a valid role: user, model.")
        if content.get("role") == "model":
            if open_calls:
                raise _unanswered()
            message = _model_message(parts, k)
            messages.append(message)
            open_calls = message.get("tool_calls", [])
        else:
            messages += _user_messages(parts, open_calls, at)
            open_calls = []
    return tuple(messages)


def text_of(parts: Sequence[Mapping[str, Any]]) -> str:
    """All text of some parts, thoughts left out."""
    return "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))


def _parts(content: Mapping[str, Any], at: str, kind: str) -> Sequence[Mapping[str, Any]]:
    parts: Sequence[Mapping[str, Any]] = content.get("parts", ())
    if not parts:
        raise refused(at, "contents.parts must not be empty.", kind)
    for k, part in enumerate(parts):
        set_ones = [name for name in _DATA if name in part]
        if not set_ones:
            said = "required oneof field 'data' must have one initialized field"
            raise refused(f"{at}[{k}].data", said, kind)
        if len(set_ones) > 1:
            raise GeminiError(
                400,
                f"Invalid value at '{at}[{k}]' (oneof), oneof field 'data' is already set. Cannot set {set_ones[1]!r}",
            )
    return parts


def _model_message(parts: Sequence[Mapping[str, Any]], turn: int) -> dict[str, Any]:
    calls = []
    for k, part in enumerate(parts):
        if "functionResponse" in part:
            raise GeminiError(400, "Please ensure that function response turn has the role user.")
        if "functionCall" in part:
            call = part["functionCall"]
            function = {
                "name": call.get("name", ""),
                "arguments": orjson.dumps(call.get("args", {})).decode(),
            }
            calls.append(
                {"id": call.get("id") or f"call_{turn}_{k}", "type": "function", "function": function}
            )
    text = text_of(parts)
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = calls
    return message


def _user_messages(
    parts: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]], at: str
) -> list[dict[str, Any]]:
    """A tool message for each response, and one of the user for all else."""
    responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
    if responses and not calls:
        raise GeminiError(
            400, "Please ensure that function response turn comes immediately after a function call turn."
        )
    if calls and len(responses) != len(calls):
        raise _unanswered()
    messages: list[dict[str, Any]] = []
    for k, (response, call) in enumerate(zip(responses, calls, strict=True)):
        if not response.get("name"):
            raise refused(f"{at}[{k}].function_response.name", "Name cannot be empty.")
        content = orjson.dumps(response.get("response", {})).decode()
        called = response.get("id") or call["id"]
        messages.append({"role": "tool", "tool_call_id": called, "content": content})
    shown = [_shown(part, f"{at}[{k}]") for k, part in enumerate(parts) if "functionResponse" not in part]
    if len(shown) == 1 and shown[0]["type"] == "text":
        messages.append({"role": "user", "content": shown[0]["text"]})
    elif shown:
        messages.append({"role": "user", "content": shown})
    return messages


def _shown(part: Mapping[str, Any], at: str) -> dict[str, Any]:
    """One part of a user's message: text, or data of a kind that the models take."""
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    if "functionCall" in part:
        raise GeminiError(400, "Please ensure that function call turn has the role model.")
    if "fileData" in part:
        raise GeminiError(403, "You do not have permission to access the File or it may not exist.")
    blob = part["inlineData"]
    kind, data = blob.get("mimeType", ""), blob.get("data", "")
    if not kind:
        raise refused(f"{at}.inline_data.mime_type", "mime_type is not specified")
    if not data:
        raise refused(f"{at}.inline_data.data", "data is empty")
    if kind in _IMAGES:
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
    if kind.startswith(_AUDIO):
        return {"type": "input_audio", "input_audio": {"data": data, "format": kind.removeprefix(_AUDIO)}}
    if kind.startswith(_OTHERS):
        return {"type": "file", "file": {"file_data": f"data:{kind};base64,{data}"}}
    raise GeminiError(400, f"Unsupported MIME type: {kind}")


def _unanswered() -> ApiError:
    return GeminiError(
        400,
        "Please ensure that the number of function response parts is equal to the number of function call parts "
        "of the function call turn.",
    )

"""One field of an Ollama request: its type as Go's JSON demands it, and values with a grammar of their own. Pure.

ollama_read.py asks; the refusals are worded as the server's. Source: Ollama's published API document.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from app.simulator.errors import ApiError

# What Go calls a field's type, and how JSON's are called in its refusals.
_GO_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "bool": (bool,),
    "int": (int,),
    "map[string]interface {}": (dict,),
    "[]api.Message": (list,),
    "[]api.ImageData": (list,),
    "[]int": (list,),
    "api.Tools": (list,),
    "[]api.ToolCall": (list,),
    "api.Message": (dict,),
    "api.Tool": (dict,),
    "api.ToolCall": (dict,),
    "api.ToolCallFunction": (dict,),
    "api.ToolCallFunctionArguments": (dict,),
    "api.ToolFunction": (dict,),
    "api.ToolFunctionParameters": (dict,),
}
_JSON_NAMES = ((bool, "bool"), (str, "string"), (int, "number"), (float, "number"), (list, "array"))
_DURATION = re.compile(
    r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*|[-+]?0"
)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS_S: Mapping[str, float] = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0,
}  # fmt: skip
_USUAL_KEEP_ALIVE_S = 300.0
_LEVELS = ("high", "medium", "low")
_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)  # JPEG is what is left


def typed(body: Mapping[str, Any], kind: str, name: str, go_type: str, at: str = "") -> Any:
    """A field's value, None where it is absent or null.

    Raises: ApiError 400 for a value of another type.
    """
    value = body.get(name)
    if value is None or (
        isinstance(value, _GO_TYPES[go_type]) and isinstance(value, bool) == (go_type == "bool")
    ):
        return value
    raise wrong_type(value, kind, f"{at}.{name}" if at else name, go_type)


def wrong_type(value: Any, kind: str, path: str, go_type: str) -> ApiError:
    """400 in the words of Go's JSON."""
    shown = next((name for each, name in _JSON_NAMES if isinstance(value, each)), "object")
    said = f"json: cannot unmarshal {shown} into Go struct field {kind}.{path} of type {go_type}"
    return ApiError(400, said)


def image_url(given: Any) -> str:
    """A data URL, as the other dialects have images.

    Raises: ApiError 400 for what is no base64.
    """
    if not isinstance(given, str):
        raise wrong_type(given, "ChatRequest", "messages.images", "api.ImageData")
    try:
        head = base64.b64decode(given, validate=True)[:4]
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "illegal base64 data at input byte 0") from error
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "image/jpeg")
    return f"data:{kind};base64,{given}"


def format_of(given: Any) -> tuple[bool, Any]:
    """(any JSON is wanted, the schema).

    Raises: ApiError 500: the server finds a wrong format when it begins to answer.
    """
    if given is None or given == "":
        return False, None
    if given == "json":
        return True, None
    if not isinstance(given, dict):
        shown = orjson.dumps(given).decode()
        raise ApiError(500, f'invalid format: {shown}; expected "json" or a valid JSON Schema object')
    return True, given


def kept_for_s(keep_alive: Any) -> float:
    """Seconds for which the model stays loaded when it has answered; what is negative is for ever.

    Raises: ApiError 400 for what is neither seconds nor a duration.
    """
    if keep_alive is None:
        return _USUAL_KEEP_ALIVE_S
    if isinstance(keep_alive, bool | list | dict):
        raise ApiError(400, "Unsupported type of keep_alive")
    if not isinstance(keep_alive, str):
        return float(keep_alive) if keep_alive >= 0 else math.inf
    if not _DURATION.fullmatch(keep_alive):
        raise ApiError(400, f"time: invalid duration {quoted(keep_alive)}")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(keep_alive))
    return math.inf if keep_alive.startswith("-") and seconds else seconds


def thinks_of(given: Any) -> bool:
    """Whether the model is to think.

    Raises: ApiError 400.
    """
    if given is None or isinstance(given, bool):
        return bool(given)
    if given not in _LEVELS:
        shown = orjson.dumps(given).decode()
        raise ApiError(400, f'invalid think value: {shown} (must be "high", "medium", "low", true, or false)')
    return True


def quoted(text: str) -> str:
    """As Go's %q."""
    return orjson.dumps(text).decode()

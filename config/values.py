"""Turn one raw value (text from the environment, or a TOML value) into a checked one. Pure.

`allowed` says the same rule in words, so a refusal and the docs cannot disagree with the check.
"""

from __future__ import annotations

import math
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from config.secret import Secret
from config.setting import Rule

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_INTEGER = re.compile(r"[+-]?[0-9]+(?:_[0-9]+)*")
_SIZE = re.compile(r"([0-9]+(?:_[0-9]+)*)\s*(B|KB|MB|GB|KiB|MiB|GiB)", re.IGNORECASE)
_SIZE_UNITS = {
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1_024,
    "mib": 1_048_576,
    "gib": 1_073_741_824,
}


def core_type(hint: Any) -> Any:
    """The type without `| None`: a setting that may be unset is still written as its own type."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not types.NoneType)
    return hint


def read_value(raw: object, hint: Any, rule: Rule, *, is_size: bool = False) -> Any:
    """Check `raw` against a setting's type and rule.

    Args:
        hint: the field's type as annotated.
        is_size: a number of bytes; "200 MB" and "256 KiB" are understood.
    Raises: ValueError if it does not fit; `allowed` has the words for the user.
    """
    kind = core_type(hint)
    if get_origin(kind) is Literal:
        return _choice(raw, get_args(kind))
    if kind is bool:
        return _boolean(raw)
    if kind is int:
        return _within(_size(raw) if is_size else _integer(raw), rule)
    if kind is float:
        return _within(_number(raw), rule)
    text = _text(raw)
    if kind is Path:
        return Path(text).expanduser()
    if rule.schemes:
        text = _url(text, rule.schemes)
    return Secret(_header_safe(text)) if kind is Secret else text


def allowed(hint: Any, rule: Rule, *, is_size: bool = False) -> str:
    """The rule of a setting in words, as a refusal and the docs show it."""
    kind = core_type(hint)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        words = (
            "a size such as 200 MB or 256 KiB" if is_size else "a whole number" if kind is int else "a number"
        )
        return words + _bounds(rule)
    if rule.schemes:
        return "a URL that starts with " + " or ".join(f"{scheme}://" for scheme in rule.schemes)
    if kind is Path:
        return "a path"
    return "a key without blanks or line breaks" if kind is Secret else "text"


def _bounds(rule: Rule) -> str:
    low, high = rule.minimum, rule.maximum
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" of at least {low:g}"
    return f" of at most {high:g}" if high is not None else ""


def _choice(raw: object, choices: tuple[str, ...]) -> str:
    text = _text(raw).lower()
    if text not in choices:
        raise ValueError("none of the choices")
    return text


def _boolean(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    text = _text(raw).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("not a truth value")
    return text in _TRUE


def _integer(raw: object) -> int:
    # bool is an int in Python, and `port = true` in TOML is a slip.
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    text = _text(raw)
    if not _INTEGER.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _size(raw: object) -> int:
    match = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    return int(match[1]) * _SIZE_UNITS[match[2].lower()] if match else _integer(raw)


def _number(raw: object) -> float:
    value = float(raw) if isinstance(raw, (int, float)) and not isinstance(raw, bool) else float(_text(raw))
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _within(value: float, rule: Rule) -> float:
    if rule.minimum is not None and value < rule.minimum:
        raise ValueError("too small")
    if rule.maximum is not None and value > rule.maximum:
        raise ValueError("too large")
    return value


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("not text")  # noqa: TRY004  one kind of refusal for the caller
    text = raw.strip()
    if not text or "\0" in text:
        raise ValueError("empty")
    return text


def _url(text: str, schemes: tuple[str, ...]) -> str:
    parts = urlsplit(text)  # raises ValueError itself on a broken IPv6 address
    place = parts.path if parts.scheme == "unix" else parts.netloc
    if parts.scheme.lower() not in schemes or not place or re.search(r"\s", text):
        raise ValueError("not such a URL")
    if parts.scheme in ("http", "https"):
        if not parts.hostname or (parts.port is not None and not 0 < parts.port < 65_536):
            raise ValueError("no host or no such port")
        return text.rstrip("/")
    return text


def _header_safe(text: str) -> str:
    # A key ends up in a header: a line break in it would be a second header.
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("characters that cannot stand in a header")
    return text

"""Small checks on request bodies, each refusing in the provider's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.simulator.errors import ApiError

_NAMES = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a decimal"),
    (list, "an array"),
)


def name_of(value: object) -> str:
    """A JSON value's type as error messages call it."""
    if value is None:
        return "null"
    return next((name for kind, name in _NAMES if isinstance(value, kind)), "an object")


def wrong_type(param: str, expected: str, value: object) -> ApiError:
    """400 invalid_type."""
    message = f"Invalid type for '{param}': expected {expected}, but got {name_of(value)} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def missing(param: str) -> ApiError:
    """400 missing_required_parameter."""
    return ApiError(
        400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def wrong_value(param: str, value: object, allowed: Sequence[str]) -> ApiError:
    """400 invalid_value, listing what would do."""
    quoted = [f"'{each}'" for each in allowed]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    return ApiError(
        400, f"Invalid value: '{value}'. Supported values are: {listed}.", param=param, code="invalid_value"
    )


def whole_number(body: Mapping[str, Any], param: str, low: int, high: int) -> int | None:
    """An optional integer within bounds; None when absent or null."""
    value = body.get(param)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(param, "an integer", value)
    if value < low:
        message = (
            f"Invalid '{param}': integer below minimum value. "
            f"Expected a value >= {low}, but got {value} instead."
        )
        raise ApiError(400, message, param=param, code="integer_below_min_value")
    if value > high:
        message = (
            f"Invalid '{param}': integer above maximum value. "
            f"Expected a value <= {high}, but got {value} instead."
        )
        raise ApiError(400, message, param=param, code="integer_above_max_value")
    return value


def decimal(body: Mapping[str, Any], param: str, low: float, high: float) -> None:
    """Refuse a sampling parameter out of bounds; the answer does not depend on it."""
    value = body.get(param)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(param, "a decimal", value)
    if not low <= value <= high:
        side, bound = (">=", low) if value < low else ("<=", high)
        word = "below minimum" if value < low else "above maximum"
        code = "decimal_below_min_value" if value < low else "decimal_above_max_value"
        message = (
            f"Invalid '{param}': decimal {word} value. "
            f"Expected a value {side} {bound:g}, but got {value} instead."
        )
        raise ApiError(400, message, param=param, code=code)


def flag(body: Mapping[str, Any], param: str) -> bool:
    """An optional boolean, false when absent or null."""
    value = body.get(param)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)
    return bool(value)

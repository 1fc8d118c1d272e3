"""A value that never shows itself: not in a repr, a log line, a traceback or a pickle."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

HIDDEN = "********"


class Secret:
    """Hold one secret text; only `reveal()` gives it out, so every use of one can be found by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the header it belongs in and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        # `dataclasses.asdict` copies deeply; a secret is immutable, so it is its own copy.
        return self

    def __reduce__(self) -> NoReturn:
        # A pickled secret could travel in a task argument or sit in a cache.
        raise TypeError("a Secret is never pickled")

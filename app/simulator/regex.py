"""A string that matches a regular expression, chosen by a draw. For JSON schemas' `pattern`.

Pure. schema.py asks. It walks the standard library's own parse of the pattern; what needs looking around
(assertions other than anchors and word edges) is refused rather than guessed.
"""

from __future__ import annotations

import importlib
import re
import string
from collections.abc import Callable, Iterable
from typing import Any

# The parser behind `re`: the one part of the standard library that gives a pattern's structure. Its shape is
# old; what is made is checked with `re` itself, so a change would be refused, never served.
_parser: Any = importlib.import_module("re._parser")

Draw = Callable[[int], int]  # n -> an integer in [0, n)
_PRINTABLE = [chr(code) for code in range(33, 127)]
_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_NOT_DIGIT": string.ascii_lowercase,
    "CATEGORY_WORD": string.ascii_lowercase,
    "CATEGORY_NOT_WORD": " -",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": string.ascii_lowercase,
}
_MAX_EXTRA_REPEATS = 3
_MAX_REPEATS = 10_000


class PatternError(ValueError):
    """No string could be made for this pattern."""


def string_matching(pattern: str, draw: Draw) -> str:
    """A string in which `pattern` is found.

    Raises: PatternError if the pattern is not valid or asks for more than this can make.
    """
    try:
        compiled = re.compile(pattern)
        made = "".join(_sequence(_parser.parse(pattern), draw, {}))
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"pattern {pattern!r}: {error}") from error
    if not compiled.search(made):
        raise PatternError(f"pattern {pattern!r} is more than the simulator can satisfy")
    return made


def _sequence(items: Iterable[Any], draw: Draw, groups: dict[int, str]) -> list[str]:
    return [_one(str(op), value, draw, groups) for op, value in items]


def _one(op: str, value: Any, draw: Draw, groups: dict[int, str]) -> str:
    if op == "IN":
        return _from_set(value, draw)
    if op == "GROUPREF":
        return groups.get(value, "")
    if op in ("LITERAL", "ANY", "NOT_LITERAL", "AT"):
        return _simple(op, value)
    made = "".join(_sequence(_inner(op, value, draw), draw, groups))
    if op == "SUBPATTERN" and value[0] is not None:
        groups[value[0]] = made
    return made


def _simple(op: str, value: Any) -> str:
    if op == "AT":  # an anchor or a word edge: checked at the end, made by nothing
        return ""
    if op == "LITERAL":
        return chr(value)
    return "y" if op == "NOT_LITERAL" and value == ord("x") else "x"


def _inner(op: str, value: Any, draw: Draw) -> list[Any]:
    """The items an operator stands for: one branch, so many repeats, the inside of a group."""
    if op == "BRANCH":
        branches = value[1]
        return list(branches[draw(len(branches))])
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, repeated = value
        if least > _MAX_REPEATS:
            raise PatternError(f"a pattern with {least} repeats is longer than the simulator writes")
        items: list[Any] = list(repeated)
        count: int = least + draw(min(int(most) - least, _MAX_EXTRA_REPEATS) + 1)
        return items * count
    if op == "SUBPATTERN":
        return list(value[3])
    if op == "ATOMIC_GROUP":
        return list(value)
    raise PatternError(f"a pattern with {op.lower()} is more than the simulator can satisfy")


def _from_set(items: Any, draw: Draw) -> str:
    chars: list[str] = []
    negated = False
    for op, value in items:
        name = str(op)
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            chars.append(chr(value))
        elif name == "RANGE":
            low, high = value
            chars += [chr(code) for code in range(low, min(high, low + 255) + 1)]
        elif name == "CATEGORY":
            chars += _CATEGORIES.get(str(value), "x")
    if negated:
        barred = set(chars)
        chars = [char for char in _PRINTABLE if char not in barred] or [" "]
    return chars[draw(len(chars))]

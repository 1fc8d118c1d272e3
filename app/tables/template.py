"""A prompt with places for a row's values: `Classify: {text}`. Pure.

`{name}` is a column, `{user.name}` a value inside one where no column has that very name; `{{` and `}}` are braces.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from workers.core.errors import UserError

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{|\}")
_BRACES = "a brace of the prompt's own is written twice: {{ or }}"


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed prompt: texts, with a name behind each but the last."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def columns(self) -> frozenset[str]:
        """Columns that it may read: with `{a.b}` both `a.b` and `a`."""
        parts = (name.split(".") for name in self.names)
        return frozenset(".".join(each[:size]) for each in parts for size in range(1, len(each) + 1))

    def filled(self, values: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
        """The prompt of a row, the names that are missing there or null, and those it does not know at all.

        What is missing or null becomes an empty text.
        """
        out = [self.texts[0]]
        empty: list[str] = []
        unknown: list[str] = []
        for name, text in zip(self.names, self.texts[1:], strict=True):
            known, value = lookup(values, name)
            if is_empty(value):
                value = None
                empty.append(name)
            if not known:
                unknown.append(name)
            out += (shown(value), text)
        return "".join(out), empty, unknown


def parse(text: str) -> Template:
    """Read a prompt. Raises UserError for a lone brace or an empty name."""
    texts, names = [""], []
    end = 0
    for found in _PIECES.finditer(text):
        texts[-1] += text[end : found.start()]
        end = found.end()
        piece = found[0]
        if piece in ("{{", "}}"):
            texts[-1] += piece[0]
        elif found[1] is None:
            raise UserError(f"the prompt has a lone {piece} at character {found.start() + 1}", hint=_BRACES)
        elif not found[1].strip():
            raise UserError(
                f"the prompt names no column at character {found.start() + 1}: {{}}", hint=_BRACES
            )
        else:
            names.append(found[1].strip())
            texts.append("")
    texts[-1] += text[end:]
    return Template(tuple(texts), tuple(names))


def lookup(values: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Whether a row has something of this name, and what: a column, or a path into one."""
    if name in values:
        return True, values[name]
    head, dot, rest = name.rpartition(".")
    while dot:
        if head in values:
            inner = values[head]
            if isinstance(inner, Mapping):
                return lookup(inner, rest)
            return inner is None, None  # a null has no parts, and is no mistake in the prompt
        head, dot, more = head.rpartition(".")
        rest = f"{more}.{rest}"
    return False, None


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, an empty text, and NaN, by which Parquet files of pandas say null."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def shown(value: Any) -> str:
    """A value as a prompt says it: text as it is, nothing for null, everything else as JSON or in its own words."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    # Decimals, dates and bytes come from Parquet; JSON has no words for them.
    said = orjson.dumps(value, default=_own_words, option=orjson.OPT_NON_STR_KEYS)
    return str(orjson.loads(said)) if said.startswith(b'"') else said.decode()


def _own_words(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

"""How one setting is declared: a dataclass field that carries its default and its rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is known of a setting besides its type and its default."""

    doc: str
    also: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    schemes: tuple[str, ...] = ()
    sensitive: bool = False  # may come from a file (`<NAME>_FILE`) and is never shown


def setting(
    default: object,
    doc: str,
    *,
    also: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    schemes: tuple[str, ...] = (),
    sensitive: bool = False,
) -> Any:
    """Declare one setting: a dataclass field that carries its rule."""
    rule = Rule(doc=doc, also=also, minimum=minimum, maximum=maximum, schemes=schemes, sensitive=sensitive)
    return field(default=default, repr=not sensitive, metadata={"rule": rule})

"""The tree of settings as a list: what loading.py fills in and describe.py prints."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any

from config.setting import Rule
from config.tree import Settings


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One setting: where it stands, what it may be, and under which names it is read."""

    section: str  # "" for the top level
    field: str
    hint: Any
    default: Any
    rule: Rule

    @property
    def dotted(self) -> str:
        """The name in TOML: `section.field`."""
        return f"{self.section}.{self.field}" if self.section else self.field

    @property
    def env_names(self) -> tuple[str, ...]:
        """Environment names, the strongest first."""
        return ("BATCHWRIGHT_" + self.dotted.replace(".", "_").upper(), *self.rule.also)

    @property
    def is_size(self) -> bool:
        """A number of bytes, which may be written with a unit."""
        return self.field.endswith("_bytes")


def specs_of(section: str, owner: type) -> tuple[FieldSpec, ...]:
    """The settings declared in one dataclass, in its order."""
    hints = typing.get_type_hints(owner)
    return tuple(
        FieldSpec(section, item.name, hints[item.name], item.default, item.metadata["rule"])
        for item in dataclasses.fields(owner)
        if "rule" in item.metadata
    )


@cache
def sections() -> dict[str, type]:
    """Section name -> its dataclass. What has no settings of its own (the catalogue) is no section."""
    hints = typing.get_type_hints(Settings)
    return {
        name: hint
        for name, hint in hints.items()
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and specs_of(name, hint)
    }


@cache
def specs() -> tuple[FieldSpec, ...]:
    """Every setting of the tree, the top level first. Providers are a table of their own."""
    below = [spec for name, owner in sections().items() for spec in specs_of(name, owner)]
    return (*specs_of("", Settings), *below)

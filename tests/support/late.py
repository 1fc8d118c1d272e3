"""An SDK that is imported when a test first uses it: every process collects every test, but one runs it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Late:
    """Stands for a package in a module of tests."""

    name: str

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks into every name of a module for what decorators leave
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self.name), attribute)

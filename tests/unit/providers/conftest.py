"""Each adapter in turn, for laws that hold for all of them."""

from __future__ import annotations

from tests.support.adapters import adapter

__all__ = ["adapter"]

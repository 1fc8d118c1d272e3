"""The API as a process on real servers, for the tests of this directory."""

from __future__ import annotations

from tests.support.api import api

__all__ = ["api"]

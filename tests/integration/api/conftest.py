"""Fixtures of this directory: the API as a process on real servers."""

from __future__ import annotations

from tests.support.api import api
from tests.support.servers import servers

__all__ = ["api", "servers"]

"""Real servers, and an engine whose provider is a script."""

from __future__ import annotations

from tests.support.servers import servers

__all__ = ["servers"]

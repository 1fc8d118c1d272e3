"""The shared servers, for engines in the process of the test."""

from tests.support.servers import servers

__all__ = ["servers"]

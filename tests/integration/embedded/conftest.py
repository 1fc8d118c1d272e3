"""The shared servers, for tests of the stack that need some but not their own."""

from tests.support.servers import clean_servers, servers

__all__ = ["clean_servers", "servers"]

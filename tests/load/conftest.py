"""Laws under load: real worker processes and servers, minutes of time. Only `make test-load` runs them."""

from __future__ import annotations

from tests.support.servers import servers

__all__ = ["servers"]

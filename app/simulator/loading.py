"""Models that take their time to load: which are loaded until when, as a server of one's own has them. No clock.

simulation.py asks for each call. A model is loaded by the first call for it, stays for the call's `keep_alive`, and is
loaded anew for another size of context, as Ollama's documentation says of its server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What a call needs loaded.

    Attributes:
        context_tokens: the context that the model is loaded with; None where it has only one.
        keep_alive_s: how long it stays loaded after the call; 0 unloads it.
    """

    context_tokens: int | None = None
    keep_alive_s: float = math.inf


@dataclass(frozen=True, slots=True)
class _Loaded:
    context_tokens: int | None
    ready_at: float
    until: float


class Models:
    """The models of one server."""

    def __init__(self, cold_start_s: float) -> None:
        """`cold_start_s`: how long a model takes to load; 0: nothing is ever cold."""
        self._cold_start_s = cold_start_s
        self._loaded: dict[str, _Loaded] = {}

    def wait_s(self, model: str, load: Load, now: float, latency_s: float) -> float:
        """How long a call waits until its model is loaded; who comes meanwhile waits for the same load.

        Args:
            now, latency_s: monotonic seconds, and what the answer takes once the model is there.
        """
        if not self._cold_start_s:
            return 0.0
        known = self._loaded.get(model)
        if known is None or now >= known.until or known.context_tokens != load.context_tokens:
            ready_at = now + self._cold_start_s
        else:
            ready_at = max(now, known.ready_at)
        until = ready_at + latency_s + load.keep_alive_s
        self._loaded[model] = _Loaded(load.context_tokens, ready_at, until)
        return ready_at - now

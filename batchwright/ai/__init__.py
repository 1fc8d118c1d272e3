"""The parts of a call to an AI provider by themselves: which provider, which model, what to send, under which key.

    tasks.py      kinds of tasks and their defaults; whether to stream
    routing.py    the provider and the model for a task
    requests.py   body, headers and address of a chat call, as the adapters of the batch engine build them
    caching.py    the name under which an answer is cached

Up to here everything is pure: nothing is sent, stored or read from settings, and the catalogue is the one that is
shipped. Two more modules do the work, and are loaded when one of their names is first used:

    calls.py      ask, look into the cache, fill it: the functions that are awaited
    session.py    one event loop's connections behind them

docs/ai.md shows every name in use. Refused input is a UserError; what a provider's API cannot say is Untranslatable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchwright.ai.caching import CacheScope, cache_key, prompt_fingerprint
from batchwright.ai.requests import (
    build_anthropic_request,
    build_gemini_request,
    build_ollama_request,
    build_openai_request,
    build_provider_request,
    get_anthropic_headers,
    get_provider_headers,
    get_provider_url,
)
from batchwright.ai.routing import (
    OLLAMA_MODELS,
    get_gemini_model,
    get_ollama_model_for_task,
    route_request,
)
from batchwright.ai.tasks import (
    TASK_CONFIGS,
    Prompt,
    Provider,
    StreamingMode,
    TaskConfig,
    TaskType,
    get_task_config,
    should_stream,
)

if TYPE_CHECKING:
    from batchwright.ai.calls import (
        Answer,
        Warming,
        cache_response,
        close_clients,
        get_cache_stats,
        get_cached_response,
        get_client_stats,
        get_http_client,
        make_ai_request,
        warm_cache,
    )

__all__ = [
    "OLLAMA_MODELS",
    "TASK_CONFIGS",
    "Answer",
    "CacheScope",
    "Prompt",
    "Provider",
    "StreamingMode",
    "TaskConfig",
    "TaskType",
    "Warming",
    "build_anthropic_request",
    "build_gemini_request",
    "build_ollama_request",
    "build_openai_request",
    "build_provider_request",
    "cache_key",
    "cache_response",
    "close_clients",
    "get_anthropic_headers",
    "get_cache_stats",
    "get_cached_response",
    "get_client_stats",
    "get_gemini_model",
    "get_http_client",
    "get_ollama_model_for_task",
    "get_provider_headers",
    "get_provider_url",
    "get_task_config",
    "make_ai_request",
    "prompt_fingerprint",
    "route_request",
    "should_stream",
    "warm_cache",
]


def __getattr__(name: str) -> Any:
    """The names of calls.py, on demand: they bring a client of Redis and one of HTTP. Called for unknown names only."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from batchwright.ai import calls

    return getattr(calls, name)

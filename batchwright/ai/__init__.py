"""The parts of a call to an AI provider by themselves: which provider, which model, what to send, under which key.

    tasks.py      kinds of tasks and their defaults; whether to stream
    routing.py    the provider and the model for a task
    requests.py   body, headers and address of a chat call, as the adapters of the batch engine build them
    caching.py    the name under which an answer is cached

Everything here is pure: nothing is sent, stored or read from settings, and the catalogue is the one that is shipped.
docs/ai.md shows every name in use. Refused input is a UserError; what a provider's API cannot say is Untranslatable.
"""

from __future__ import annotations

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

__all__ = [
    "OLLAMA_MODELS",
    "TASK_CONFIGS",
    "CacheScope",
    "Prompt",
    "Provider",
    "StreamingMode",
    "TaskConfig",
    "TaskType",
    "build_anthropic_request",
    "build_gemini_request",
    "build_ollama_request",
    "build_openai_request",
    "build_provider_request",
    "cache_key",
    "get_anthropic_headers",
    "get_gemini_model",
    "get_ollama_model_for_task",
    "get_provider_headers",
    "get_provider_url",
    "get_task_config",
    "prompt_fingerprint",
    "route_request",
    "should_stream",
]

"""OpenAI's prompt cache: automatic, for chat and responses alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.simulator.chat import ChatAnswer, ChatRequest
from app.simulator.dialect import Terms
from app.simulator.promptcache import beginnings, steps
from app.simulator.usage import prompt_bytes


def cached_tokens(request: ChatRequest, answer: ChatAnswer, terms: Terms) -> tuple[int, Callable[[], None]]:
    """Tokens of a prompt that OpenAI's cache holds, and what puts the prompt there once it is answered.

    Automatic: the longest beginning met before, from 1,024 tokens on in steps of 128, never the whole prompt.
    """
    ends = steps(answer.prompt_tokens - 1)
    if not ends:
        return 0, _keep_nothing
    prompt = prompt_bytes(request.messages, request.tools, request.schema)
    known = beginnings(f"openai {request.model}", prompt, ends)
    return terms.cache.longest(known), partial(terms.cache.keep, known)


def _keep_nothing() -> None:
    """A prompt too short for the cache."""

"""Providers, kinds of tasks and the defaults of each: names in code for what config/models.toml says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from config.catalog_file import builtin_catalog
from workers.core import choose
from workers.core.errors import UserError

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""The user's words, or messages in the shape of OpenAI's chat completions."""

_Named = TypeVar("_Named", bound=StrEnum)


class Provider(StrEnum):
    """Whose API is spoken."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OLLAMA = "ollama"


class StreamingMode(StrEnum):
    """When an answer is streamed; `auto` decides by length and task."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


class TaskType(StrEnum):
    """A kind of task. Short values are understood as well: `TaskType("genre")`, `"audio"`, `"tools"`."""

    GENRE_CLASSIFICATION = "genre_classification"
    AUDIO_ANALYSIS = "audio_analysis"
    CREATIVE = "creative"
    FACTUAL = "factual"
    TOOL_CALLING = "tool_calling"
    SUMMARIZATION = "summarization"
    TRANSCRIPTION = "transcription"
    CONVERSATION = "conversation"
    GRAMMAR = "grammar"
    SCENARIO = "scenario"

    @classmethod
    def _missing_(cls, value: object) -> TaskType | None:
        task = builtin_catalog().task_type(value) if isinstance(value, str) else None
        return cls(task.name) if task is not None and task.name != value else None


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What a request inherits from its task type. `max_tokens` bounds the answer; None leaves it to the provider."""

    max_tokens: int | None
    temperature: float | None
    streaming: StreamingMode


TASK_CONFIGS: Mapping[TaskType, TaskConfig] = MappingProxyType(
    {
        TaskType(task.name): TaskConfig(task.max_tokens, task.temperature, StreamingMode(task.streaming))
        for task in builtin_catalog().task_types.values()
    }
)


def get_task_config(task_type: str) -> TaskConfig:
    """The defaults of a task type, by its full or short name. Raises UserError for one that nobody knows."""
    return TASK_CONFIGS[known(TaskType, task_type, "task type")]


def should_stream(task_type: str, content: Prompt) -> bool:
    """Whether a user who waits for the answer should see it as it is written.

    `auto` says yes if the content is over 500 characters or the task is creative or summarization.
    Raises: UserError for a task type that nobody knows.
    """
    task = known(TaskType, task_type, "task type")
    return choose.should_stream(task, _characters(content), TASK_CONFIGS[task].streaming.value)


def known(names: type[_Named], given: str, what: str) -> _Named:
    """The member that is meant. Raises UserError with those there are."""
    try:
        return names(given)
    except ValueError:
        message = f"unknown {what} {str(given)[:64]!r}; known: {', '.join(names)}"
        raise UserError(message) from None


def _characters(content: Prompt) -> int:
    if isinstance(content, str):
        return len(content)
    told = [message.get("content") for message in content]
    parts = [part for each in told if isinstance(each, list) for part in each]
    texts = [each for each in told if isinstance(each, str)]
    return sum(map(len, texts)) + sum(
        len(part.get("text") or "") for part in parts if isinstance(part, Mapping)
    )

"""Ollama's `options`: which of them change an answer here, and the types of all. Pure.

Unknown options are taken and ignored, as the server does; a known one of a wrong type is refused with 500,
which is the status the server has for it. Names and types: Ollama's Modelfile and API documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.simulator.errors import ApiError

DEFAULT_NUM_CTX = 4_096
_INTEGERS = (
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "seed", "num_predict", "top_k",
    "repeat_last_n",
)  # fmt: skip
_FLOATS = (
    "top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_BOOLEANS = ("use_mmap", "numa")


@dataclass(frozen=True, slots=True)
class Options:
    """What an answer depends on. `num_predict` is None where nothing caps it."""

    num_predict: int | None
    num_ctx: int
    stop: tuple[str, ...]
    truncates: bool

    def fitted(self, prompt_tokens: int) -> int:
        """Tokens of the prompt that the model sees.

        Raises: ApiError 400 where the prompt is longer than the context and must not be cut.
        """
        if prompt_tokens <= self.num_ctx:
            return prompt_tokens
        if not self.truncates:
            said = "the input length exceeds the context length"
            raise ApiError(400, f"{said} ({prompt_tokens} tokens, num_ctx {self.num_ctx})")
        return self.num_ctx


def read_options(given: Mapping[str, Any], *, truncates: bool) -> Options:
    """Check the options of a request.

    Args:
        truncates: whether a prompt beyond the context is cut, or refused.
    Raises: ApiError 500 for a known one of a wrong type.
    """
    for name in _INTEGERS:
        value = given.get(name)
        if value is not None and not (_is_number(value) and value == value // 1):
            raise _wrong(name, "integer")
    for name in _FLOATS:
        value = given.get(name)
        if value is not None and not _is_number(value):
            raise _wrong(name, "float32")
    for name in _BOOLEANS:
        if not isinstance(given.get(name), bool | None):
            raise _wrong(name, "boolean")
    stop = given.get("stop")
    if stop is not None and not (isinstance(stop, list) and all(isinstance(each, str) for each in stop)):
        raise _wrong("stop", "array of strings")
    cap = int(given.get("num_predict") or 0)
    context = int(given.get("num_ctx") or 0)
    return Options(
        num_predict=cap if cap > 0 else None,  # -1 is without end, -2 to the end of the context
        num_ctx=context if context > 0 else DEFAULT_NUM_CTX,
        stop=tuple(each for each in stop or () if each),
        truncates=truncates,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, kind: str) -> ApiError:
    return ApiError(500, f'option "{name}" must be of type {kind}')

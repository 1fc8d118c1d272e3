"""Embeddings: read a body as strictly as the provider does, and answer it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.simulator import checks
from app.simulator.errors import ApiError
from app.simulator.models import EMBEDDING, model_for
from app.simulator.usage import count_tokens
from app.simulator.vectors import MAX_DIMENSIONS, as_base64, embedding

MAX_INPUTS = 2048
Input = str | list[int]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A checked request: each input is a text or a list of token ids."""

    model: str
    inputs: tuple[Input, ...]
    dimensions: int
    as_base64: bool

    @property
    def prompt_tokens(self) -> int:
        return sum(count_tokens(each) if isinstance(each, str) else len(each) for each in self.inputs)


def read_embeddings(
    body: Mapping[str, Any], *, all_models: bool, default_dimensions: int
) -> EmbeddingRequest:
    """Check a body.

    Raises: ApiError for whatever the provider would refuse.
    """
    model = model_for(body, EMBEDDING, all_models=all_models)
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise checks.wrong_value("encoding_format", encoding, ("float", "base64"))
    dimensions = checks.whole_number(body, "dimensions", 1, MAX_DIMENSIONS) or default_dimensions
    return EmbeddingRequest(model, _inputs(body), dimensions, encoding == "base64")


def embedding_reply(request: EmbeddingRequest, seed: int) -> dict[str, Any]:
    """The body of the answer, inputs in their order."""
    data = []
    for k, each in enumerate(request.inputs):
        vector = embedding(request.model, each, request.dimensions, seed)
        shown = as_base64(vector) if request.as_base64 else vector
        data.append({"object": "embedding", "index": k, "embedding": shown})
    tokens = request.prompt_tokens
    return {
        "object": "list",
        "data": data,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _inputs(body: Mapping[str, Any]) -> tuple[Input, ...]:
    given = body.get("input")
    if given is None:
        raise checks.missing("input")
    if isinstance(given, str) or _is_tokens(given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise _invalid_input()
    if len(given) > MAX_INPUTS:
        raise ApiError(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}, but got "
            f"an array with length {len(given)} instead.",
            param="input",
            code="array_above_max_length",
        )
    if not all((isinstance(each, str) and each) or _is_tokens(each) for each in given):
        raise _invalid_input()
    return tuple(given)


def _is_tokens(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in value)
    )


def _invalid_input() -> ApiError:
    return ApiError(400, "'$.input' is invalid. Please check the API reference: embeddings.", param="input")

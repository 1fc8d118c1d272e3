"""The simulator's models, and who may ask which of them for what. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.simulator.errors import ApiError, unknown_model

CHAT = "chat"
EMBEDDING = "embedding"
MODELS: Mapping[str, str] = {"sim-small": CHAT, "sim-large": CHAT, "sim-embed": EMBEDDING}
_CREATED = 1_700_000_000  # a fixed day: model lists should not change from call to call


def model_for(body: Mapping[str, Any], purpose: str, *, all_models: bool) -> str:
    """The model a body names, if it serves `purpose`; with `all_models` every unknown name does.

    Raises: ApiError as the provider puts it: 400 without a model, 404 unknown, 403 or 404 for the wrong kind.
    """
    model = body.get("model")
    if model is None or model == "":
        raise ApiError(400, "you must provide a model parameter")
    if not isinstance(model, str):
        raise ApiError(
            400, "Invalid type for 'model': expected a string.", param="model", code="invalid_type"
        )
    kind = MODELS.get(model, purpose if all_models else None)
    if kind is None:
        raise unknown_model(model)
    if kind != purpose and purpose == CHAT:
        message = (
            f"This is not a chat model and thus not supported in the v1/chat/completions endpoint: {model}."
        )
        raise ApiError(404, message, param="model")
    if kind != purpose:
        raise ApiError(
            403, f"You are not allowed to generate embeddings from this model: {model}.", param="model"
        )
    return model


def model_object(model: str) -> dict[str, Any]:
    """One entry of GET /v1/models."""
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": "simulator"}


def model_list() -> dict[str, Any]:
    """GET /v1/models."""
    return {"object": "list", "data": [model_object(model) for model in MODELS]}

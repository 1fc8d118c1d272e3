"""Answers of every endpoint have the shape of the SDK's own types, strictly, whatever the provider was."""

from __future__ import annotations

import base64
import io
import json
import uuid
import wave
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from tests.compat.conftest import Stack

pytestmark = pytest.mark.compat


def sound() -> str:
    """A tenth of a second of silence, as a data: URL."""
    written = io.BytesIO()
    with wave.open(written, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(8000)
        wav.writeframes(bytes(1600))
    return "data:audio/wav;base64," + base64.b64encode(written.getvalue()).decode()


TEXT = f"what is a shard? {uuid.uuid4().hex}"
ENDPOINTS: dict[str, tuple[dict[str, Any], type[BaseModel]]] = {
    "/v1/chat/completions": ({"messages": [{"role": "user", "content": TEXT}]}, ChatCompletion),
    "/v1/responses": ({"input": TEXT}, Response),
    "/v1/embeddings": ({"model": "sim-embed", "input": [TEXT, "two"]}, CreateEmbeddingResponse),
    "/v1/completions": ({"prompt": TEXT}, Completion),
    "/v1/audio/transcriptions": ({"file_url": sound(), "response_format": "json"}, Transcription),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_answer_of_an_endpoint_is_its_sdk_type(stack: Stack, endpoint: str) -> None:
    asked, kind = ENDPOINTS[endpoint]
    request = {"custom_id": "r1", "method": "POST", "url": endpoint, "body": {"model": "sim-small", **asked}}
    made = stack.create(json.dumps(request).encode(), endpoint=endpoint)
    batch = stack.ended(made.id)
    assert batch.status == "completed", batch.errors
    (row,) = stack.rows(batch.output_file_id) or stack.rows(batch.error_file_id)
    assert row["response"]["status_code"] == 200, row
    # By its bytes, as it came: JSON has no tuples and no dates for a strict model to wish for.
    kind.model_validate_json(json.dumps(row["response"]["body"]), strict=True)


@pytest.mark.parametrize("status", [400, 404])
def test_a_providers_refusal_is_in_the_error_file_with_its_true_status(stack: Stack, status: int) -> None:
    fault = f"[[sim:status={status}]]"
    body = {"model": "sim-small", "messages": [{"role": "user", "content": f"{TEXT} {fault}"}]}
    request = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    batch = stack.ended(stack.create(json.dumps(request).encode()).id)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.request_counts and batch.request_counts.failed == 1
    (row,) = stack.rows(batch.error_file_id)
    assert (row["error"], row["response"]["status_code"]) == (None, status)
    assert set(row["response"]["body"]["error"]) == {"message", "type", "param", "code"}

"""A refusal tells a person what helps."""

from __future__ import annotations

import httpx

from app.client.errors import refusal, unreachable

URL = "http://10.0.0.1:8000"


def test_a_key_that_may_not_do_it_says_how_to_get_one_that_may() -> None:
    error = {
        "message": "This API key may not do that: it lacks the scope 'submit'.",
        "code": "insufficient_scope",
    }
    said = refusal(httpx.Response(403, json={"error": error}), URL)
    assert said.hint is not None and "batchwright keys create --scope" in said.hint
    assert refusal(httpx.Response(403, json={"error": error | {"code": "not_allowed"}}), URL).hint is None


def test_a_server_that_does_not_answer_may_stand_elsewhere() -> None:
    said = unreachable(httpx.ConnectError("refused"), URL)
    assert said.hint is not None and "BATCHWRIGHT_API_URL" in said.hint

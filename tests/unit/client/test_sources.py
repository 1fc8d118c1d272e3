"""What a Python caller hands over becomes one file, or a clear refusal."""

from __future__ import annotations

import json

import pytest

from app.client.sources import opened
from workers.core.errors import UserError

pytestmark = pytest.mark.fast


def test_one_request_in_place_of_several_is_refused_before_its_keys_are_paid_for() -> None:
    request = {"model": "sim-small", "messages": []}
    with pytest.raises(UserError, match="one request") as refused, opened(request, "/v1/chat/completions"):
        pass
    assert refused.value.hint is not None and "[request]" in refused.value.hint


def test_prompts_become_lines_with_ids_of_their_own() -> None:
    with opened(["one", "two"], "/v1/chat/completions") as file:
        lines = [json.loads(line) for line in file]
    assert [line["body"]["messages"][-1]["content"] for line in lines] == ["one", "two"]
    assert len({line["custom_id"] for line in lines}) == 2

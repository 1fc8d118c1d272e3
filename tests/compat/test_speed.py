"""How soon a small batch gets going: its first item is called within a second of its create."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from tests.compat.conftest import Stack, lines
from tests.support.eventually import eventually

pytestmark = pytest.mark.compat
CREATES = 10


def test_the_first_item_is_called_within_a_second_of_a_small_create(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    took_s = []
    for _ in range(CREATES):
        content, called = lines(1), stack.site.called()
        file_id = stack.upload(content)
        began = time.monotonic()
        batch = stack.sdk.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        # The simulator notes a call when it answers, which it does at once.
        eventually(lambda before=called: stack.site.called() > before, 10)  # type: ignore[misc]
        took_s.append(time.monotonic() - began)
        assert stack.ended(batch.id).status == "completed"
    record_property("create to first call, median and longest, s", (statistics.median(took_s), max(took_s)))
    assert max(took_s) < 1.0, took_s

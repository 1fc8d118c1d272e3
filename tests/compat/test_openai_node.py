"""The official Node SDK: its flows are in node/flows.mjs, which asserts; here it is installed and run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.compat.conftest import CHAT, Stack, lines
from tests.compat.node_sdk import HERE, run_script
from tests.support.receiver import receiving

pytestmark = pytest.mark.compat
MANY = 101


def test_the_node_sdk_uploads_creates_polls_downloads_cancels_pages_and_is_refused(
    stack: Stack, tmp_path: Path
) -> None:
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    prompts.write_bytes(lines(3))
    other = stack.api.sdk_of(stack.api.other_key)
    for _ in range(MANY):
        other.batches.create(input_file_id="file-nowhere", endpoint=CHAT, completion_window="24h")
    finished = stack.ended(stack.create(lines(1)).id).id
    environ = {
        **stack.environ(),
        "IN": str(prompts),
        "OUT": str(out),
        "FINISHED": finished,
        "MANY": str(MANY),
        "OTHER_KEY": stack.api.other_key,
    }
    proved = json.loads(run_script(HERE / "flows.mjs", tmp_path, environ))
    assert set(proved) == {"uploads", "lifecycle", "cancelling", "paging", "once", "refusals"}
    assert proved["lifecycle"] == 3


def test_the_node_sdk_handles_webhooks_by_its_own_calls(stack: Stack, tmp_path: Path) -> None:
    with receiving() as receiver:
        environ = {**stack.environ(), "RECEIVER": receiver.url}
        made = json.loads(run_script(HERE / "endpoints.mjs", tmp_path, environ))
        (got,) = receiver.got
    event = stack.sdk.webhooks.unwrap(got.body, got.headers, secret=made["secret"])
    assert event.type == "batch.completed"


def test_the_lock_names_no_address() -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        text = (HERE / name).read_text(encoding="utf-8")
        assert "resolved" not in text.replace("omit-lockfile-registry-resolved=true", "")
        hashed = re.sub(r'"integrity": "[^"]*"', "", text)  # base64 may hold anything
        assert not re.search(r"https?:|registry\s*=|//", hashed), name

"""`batchwright profile` as a person runs it, with a small batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.compat, pytest.mark.slow]
ITEMS = 400


@pytest.mark.parametrize("flags", [(), ("--cpu",)], ids=["steps", "cpu"])
def test_a_profile_says_where_the_time_of_an_item_went_and_leaves_a_file(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "app.cli.main", "profile", *flags]
    options = ["--items", str(ITEMS), "--out", str(tmp_path), "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["items"] == ITEMS and Path(found["file"]).stat().st_size > 0
    if flags:
        # What the parts used is what the process used, but for what the two clocks see apart.
        charged = sum(part["own_us"] for part in found["parts"])
        assert 0.5 < charged / found["cpu_us_an_item"] < 2
        assert any(part["name"].startswith("workers.") and part["own_us"] > 0 for part in found["parts"])
    else:
        calls = [
            step for step in found["steps"] if step["name"] == "batchwright_llm_request_duration_seconds"
        ]
        assert sum(step["times"] for step in calls) == ITEMS

"""Every fault that we say we survive stands in the table of the chaos suite, broken or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast
CHAOS = Path(__file__).resolve().parents[1] / "chaos"
FAULTS = {*map(str, range(1, 26)), "23b", "23c"}
_ROW = re.compile(r'pytest\.mark\.fault\(\s*"(\w+)", *\s*"([^"]+)"')


def test_every_fault_of_the_list_is_a_row_of_the_chaos_suite() -> None:
    rows = [row for path in CHAOS.glob("test_*.py") for row in _ROW.findall(path.read_text(encoding="utf-8"))]
    assert {number for number, _ in rows} >= FAULTS
    words = [what for _, what in rows]
    assert len(words) == len(set(words)), "two rows cannot be told apart in the table"

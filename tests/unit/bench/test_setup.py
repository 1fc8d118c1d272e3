"""The other engines' environment: locked, and of what the bench asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.bench.others import OTHERS

pytestmark = pytest.mark.fast
BENCH = Path(__file__).parents[3] / "bench"


def test_the_lock_has_a_hash_for_every_package_and_no_address() -> None:
    text = (BENCH / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    entries = re.split(r"^(?=[a-z0-9.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_lock_holds_every_package_that_is_asked_for_and_every_engine_that_is_not_ours() -> None:
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (BENCH / "requirements.lock").read_text(), re.MULTILINE))
    lines = (BENCH / "requirements.in").read_text(encoding="utf-8").splitlines()
    asked = {re.split(r"[\[<>=;~! ]", line, maxsplit=1)[0] for line in lines if line and line[0] != "#"}
    assert asked <= locked, "run `make lock`"
    assert {other.needs for other in OTHERS if not other.own} <= asked

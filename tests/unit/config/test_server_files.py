"""The files of the servers; tests/stack/test_config_files.py starts real ones with them."""

from __future__ import annotations

from pathlib import Path

import pytest

import config

pytestmark = pytest.mark.fast
FILES = sorted(Path(config.__file__).parent.glob("redis-*.conf"))


def test_no_comment_stands_behind_a_directive_of_redis() -> None:
    # Redis takes it for a part of the value and does not start.
    assert len(FILES) == 2
    for file in FILES:
        for line in file.read_text(encoding="utf-8").splitlines():
            assert line.startswith("#") or "#" not in line, f"{file.name}: {line}"


def test_no_directive_stands_twice() -> None:
    for file in FILES:
        lines = file.read_text(encoding="utf-8").splitlines()
        names = [line.split()[0] for line in lines if line and not line.startswith("#")]
        assert len(names) == len(set(names)), file.name

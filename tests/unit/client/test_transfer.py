"""A download is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.client.transfer import whole_or_nothing
from workers.core.errors import UserError


def test_nothing_is_seen_before_the_end_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "o.jsonl"
    with whole_or_nothing(target) as file:
        file.write(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert os.listdir(tmp_path) == ["o.jsonl"]  # noqa: PTH208


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "o.jsonl"
    target.write_bytes(b"old")

    def broken() -> None:
        with whole_or_nothing(target) as file:
            file.write(b"new")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        broken()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["o.jsonl"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("real")
    with whole_or_nothing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_or_nothing(pipe) as file:
        file.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_to_be_full() -> None:
    with pytest.raises(UserError, match="No space left"), whole_or_nothing(Path("/dev/full")) as file:
        file.write(b"x")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"), whole_or_nothing(tmp_path / "no" / "o"):
        pass

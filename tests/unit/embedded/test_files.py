"""The data directory: private, whole, locked."""

import json
import sys
from pathlib import Path

import pytest

from app.embedded import files
from app.embedded.errors import StackError
from app.embedded.files import FileLock
from workers.core.api_keys import is_mistyped


def test_the_api_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = files.ensure_api_key(tmp_path / "new")
    assert files.ensure_api_key(tmp_path / "new") == first
    assert first.startswith("bw_")
    assert len(first) == 52
    assert not is_mistyped(first)
    assert (tmp_path / "new" / "api_key").stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    for number in range(3):
        files.write_private(path, json.dumps({"number": number}))
    assert files.read_json(path) == {"number": 2}
    assert [found.name for found in tmp_path.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_broken_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text, encoding="utf-8")
    assert files.read_json(tmp_path / "stack.json") is None


def test_a_disk_without_space_is_refused_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"MB free, \d+ MB are needed: free some space"):
        files.prepare(tmp_path, needed_bytes=1 << 60)


def test_a_data_directory_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StackError, match="a part of this path is a file"):
        files.prepare(tmp_path / "file" / "data")


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is read-only on Linux, also for root")
def test_a_read_only_data_directory_is_refused_in_one_line() -> None:
    with pytest.raises(StackError, match="cannot use the data directory /sys/batchwright") as caught:
        files.prepare(Path("/sys/batchwright"))
    assert "BATCHWRIGHT_DATA_DIR" in caught.value.hint


def test_an_exclusive_lock_keeps_all_others_out_until_it_is_released(tmp_path: Path) -> None:
    owner, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert owner.acquire()
    assert not other.acquire()
    assert not other.acquire(shared=True)
    owner.release()
    assert other.acquire(shared=True)


def test_shared_locks_live_beside_each_other_and_keep_an_owner_out(tmp_path: Path) -> None:
    one, two, owner = (FileLock(tmp_path / "lock") for _ in range(3))
    assert one.acquire(shared=True)
    assert two.acquire(shared=True)
    assert not owner.acquire()
    one.release()
    two.release()
    assert owner.acquire()


def test_a_lock_carries_a_word_for_whoever_finds_it_held(tmp_path: Path) -> None:
    owner, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert owner.acquire()
    owner.note("1234567 starting")
    owner.note("12 ready")
    assert other.read_note() == "12 ready"

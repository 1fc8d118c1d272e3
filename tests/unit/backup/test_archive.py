"""The file of a backup: what goes in comes out, and a file that is cut or changed is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from app.backup.archive import MAGIC, Manifest, NoBackup, Writer, read_manifest, read_parts
from app.backup.saving import _appearing
from workers.core.errors import UserError
from workers.store.snapshot import Snapshot, SnapshotTooOld, split

pytestmark = pytest.mark.fast
Collections = Mapping[str, Sequence[bytes]]
SAME_DIRECTORY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
DOCUMENTS = st.dictionaries(st.text("abc", max_size=3), st.binary(max_size=300)).map(bson.encode)
COLLECTIONS = st.dictionaries(st.text("xyz", min_size=1), st.lists(DOCUMENTS, max_size=8), max_size=4)


def quiet(*_: object) -> None:
    """A `Tell` nobody hears."""


def written(path: Path, collections: Collections) -> Manifest:
    with path.open("wb") as file:
        writer = Writer(file)
        for name, documents in collections.items():
            writer.add(name, documents, quiet)
        return writer.finish(created_at=1.5, version="0", database="db")


def read(path: Path) -> dict[str, list[bytes]]:
    with path.open("rb") as file:
        return {name: list(found) for name, found in read_parts(file, read_manifest(file), quiet)}


@SAME_DIRECTORY
@given(COLLECTIONS)
def test_what_goes_in_comes_out(tmp_path: Path, collections: dict[str, list[bytes]]) -> None:
    manifest = written(tmp_path / "f", collections)
    assert read(tmp_path / "f") == collections
    with (tmp_path / "f").open("rb") as file:
        assert read_manifest(file) == manifest
    assert manifest.documents == sum(map(len, collections.values()))


WHOLE = {
    "a": [bson.encode({"_id": n, "x": os.urandom(50)}) for n in range(40)],
    "b": [bson.encode({"_id": 1})],
}


@SAME_DIRECTORY
@given(st.data())
def test_a_file_with_one_byte_changed_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "f"
    written(path, WHOLE)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found: Any = read(path)
    except NoBackup:
        return
    # zstd's own check sum may be the one part of the file that says nothing of the documents.
    assert found == WHOLE


@SAME_DIRECTORY
@given(st.data())
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "f"
    written(path, WHOLE)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(NoBackup):
        read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"custom_id": "1"}\n' * 10, "is no backup of Batchwright"),
        (MAGIC.replace(b"1", b"2") + b"x" * 100, "another format"),
        (MAGIC + b"x" * 100, "its end is missing"),
    ],
)
def test_what_is_no_backup_is_said_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(NoBackup, match=said):
        read(tmp_path / "f")


def test_the_file_is_its_owners_alone_and_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with _appearing(path) as file:
        file.write(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(143), OSError(28, "No space left on device")]
)
def test_whatever_ends_it_early_leaves_nothing_behind_and_the_last_backup_as_it_was(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "backup"
    path.write_bytes(b"yesterday's")
    expected = UserError if isinstance(error, OSError) else type(error)

    def breaks_off() -> None:
        with _appearing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(expected) as raised:
        breaks_off()
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]
    assert path.read_bytes() == b"yesterday's"
    if isinstance(raised.value, UserError):
        assert "the disk is full" in raised.value.message and raised.value.hint


@given(st.lists(DOCUMENTS))
def test_a_page_of_documents_falls_into_its_documents(documents: list[bytes]) -> None:
    assert list(split(b"".join(documents))) == documents


def test_a_moment_that_mongodb_has_forgotten_is_said_with_what_helps() -> None:
    def forgotten(*_: object, **__: object) -> Any:
        raise OperationFailure("too old", 239)

    db: Any = {"batch_jobs": SimpleNamespace(find_raw_batches=forgotten)}
    with pytest.raises(SnapshotTooOld) as raised:
        list(Snapshot(db, ["batch_jobs"], None).documents("batch_jobs"))
    assert raised.value.hint is not None and "minSnapshotHistoryWindowInSeconds" in raised.value.hint

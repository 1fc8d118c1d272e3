"""Files and their bytes in a real MongoDB: what was uploaded is what is read, line by line or range by range."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection

from tests.support.batches import Stores
from workers.core.split import UTF8_BOM, split_lines
from workers.store.blobs import CHUNK_BYTES, PAGE_CHUNKS
from workers.store.mongo import EPOCH

pytestmark = pytest.mark.integration
MAX = 1 << 20


def lines_of(stores: Stores, content: bytes, max_line_bytes: int = MAX) -> list[tuple[int, int, bytes]]:
    file = stores.files.get(stores.file(content))
    assert file is not None
    return list(stores.files.lines(file, max_line_bytes))


def naive_lines(content: bytes) -> list[tuple[int, int, bytes]]:
    """The same by the plainest means: whole content in memory."""
    found, offset = [], 0
    for number, whole in enumerate(content.split(b"\n"), start=1):
        start, raw = offset, whole
        if number == 1 and raw.startswith(UTF8_BOM):
            start, raw = len(UTF8_BOM), raw.removeprefix(UTF8_BOM)
        raw = raw.removesuffix(b"\r")
        if raw.strip():
            found.append((number, start, raw))
        offset += len(whole) + 1
    return found


def test_an_upload_is_hidden_until_it_is_finished_and_then_whole(stores: Stores) -> None:
    content = random.Random(7).randbytes(2 * CHUNK_BYTES + 17)
    upload = stores.files.begin("file-1", "t", filename="x.jsonl", purpose="batch", expires_at=None)
    for start in range(0, len(content), 300_001):
        upload.write(content[start : start + 300_001])
    assert stores.files.get("file-1") is None and stores.files.for_batch("file-1", "t") is None
    doc = upload.finish()
    assert (doc["bytes"], doc["digest"]) == (len(content), blake3.blake3(content).hexdigest())
    assert stores.blobs.get("file-1") == content


def test_an_aborted_upload_leaves_nothing(stores: Stores) -> None:
    upload = stores.files.begin("file-1", "t", filename="x", purpose="batch", expires_at=None)
    upload.write(b"x" * (CHUNK_BYTES + 1))
    upload.abort()
    assert stores.db["files"].count_documents({}) == stores.db["files.chunks"].count_documents({}) == 0


def test_an_upload_is_never_taken_for_an_abandoned_one_while_it_begins(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []
    written = Collection.update_one

    def look_after_each_write(docs: Any, *args: Any, **options: Any) -> Any:
        done = written(docs, *args, **options)
        swept.extend(stores.files.stale_uploads(900.0, 10))
        return done

    monkeypatch.setattr(Collection, "update_one", look_after_each_write)
    monkeypatch.setattr(Collection, "insert_one", lambda *_: pytest.fail("a second write has to follow"))
    stores.files.begin("file-1", "t", filename="$x", purpose="batch", expires_at=None)
    assert swept == []
    doc = stores.db["files"].find_one({"_id": "file-1"})
    assert doc is not None and doc["filename"] == "$x" and doc["touched_at"]


def test_an_upload_nobody_goes_on_with_is_found_by_its_state(stores: Stores) -> None:
    stores.files.begin("file-old", "t", filename="x", purpose="batch", expires_at=None)
    stores.files.begin("file-new", "t", filename="x", purpose="batch", expires_at=None)
    stores.db["files"].update_one({"_id": "file-old"}, {"$set": {"touched_at": EPOCH}})
    done = stores.file(b"x\n")
    stores.db["files"].update_one({"_id": done}, {"$set": {"touched_at": EPOCH}})
    assert stores.files.stale_uploads(900.0, 10) == ["file-old"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb\n", [(1, 0, b"a"), (2, 2, b"b")]),
        (b"a\r\nb\r\n", [(1, 0, b"a"), (2, 3, b"b")]),
        (b"a\nb", [(1, 0, b"a"), (2, 2, b"b")]),
        (b"a\n\n \t\nb\n\n", [(1, 0, b"a"), (4, 6, b"b")]),
        (UTF8_BOM + b"a\nb\n", [(1, 3, b"a"), (2, 5, b"b")]),
        (UTF8_BOM + b"\r\na", [(2, 5, b"a")]),
        (b"\r\n\n", []),
        (b"", []),
    ],
)
def test_lines_keep_their_physical_number_and_offset(
    stores: Stores, content: bytes, lines: list[tuple[int, int, bytes]]
) -> None:
    assert lines_of(stores, content) == lines


def test_a_line_that_is_too_long_shows_one_byte_more_than_it_may_have(stores: Stores) -> None:
    long = b"x" * (2 * CHUNK_BYTES + 9)
    found = lines_of(stores, b"a\n" + long + b"\r\nb\n", max_line_bytes=10)
    assert found == [(1, 0, b"a"), (2, 2, b"x" * 11), (3, len(long) + 4, b"b")]


@given(
    st.lists(st.sampled_from([b"a", b"bb", b" ", b"\r", b"\n", b"\r\n", UTF8_BOM, b"x" * 9]), max_size=30),
    st.lists(st.integers(1, 7), min_size=1, max_size=20),
    st.integers(1, 12),
)
@settings(max_examples=100)
def test_lines_are_the_same_however_the_chunks_fall(
    parts: list[bytes], sizes: list[int], max_line_bytes: int
) -> None:
    content = b"".join(parts)
    cut = [raw[: max_line_bytes + 1] for _, _, raw in naive_lines(content)]
    places = [(number, offset) for number, offset, _ in naive_lines(content)]
    found = list(split_lines(_cut(content, sizes), max_line_bytes))
    # A line whose kept bytes are all blank is known by them to be blank.
    expected = [(*place, raw) for place, raw in zip(places, cut, strict=True) if raw.strip()]
    assert found == expected


def _cut(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    chunks: list[bytes] = []
    start = 0
    while start < len(content):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(content[start : start + size])
        start += size
    return chunks


def test_a_line_is_read_again_by_its_offset(stores: Stores) -> None:
    content = UTF8_BOM + b"first\r\n" + b"y" * CHUNK_BYTES + b"\nlast"
    file = stores.files.get(stores.file(content))
    assert file is not None
    found = list(stores.files.lines(file, 2 * MAX))
    assert len(found) == 3
    for _, offset, raw in found:
        assert stores.files.line_at(file["_id"], offset, 2 * MAX) == raw


def test_lines_of_a_file_whose_end_is_missing_are_an_error_and_no_shorter_batch(stores: Stores) -> None:
    file = stores.files.get(stores.file((b"a" * 1023 + b"\n") * (2 * CHUNK_BYTES // 1024)))
    assert file is not None
    stores.db["files.chunks"].delete_one({"files_id": file["_id"], "n": 1})
    with pytest.raises(LookupError):
        list(stores.files.lines(file, MAX))


@pytest.mark.parametrize(
    ("content", "first", "cut"),
    [
        (b"\n\n  {}\nrest", b"{}", False),
        (UTF8_BOM + b"{}\r\nrest", b"{}", False),
        (b"{}", b"{}", False),
        (b"x" * (CHUNK_BYTES + 5), b"x" * CHUNK_BYTES, True),
    ],
)
def test_the_first_line_is_kept_to_tell_what_kind_of_file_it_is(
    stores: Stores, content: bytes, first: bytes, cut: bool
) -> None:
    upload = stores.files.begin("file-1", "t", filename="x", purpose="batch", expires_at=None)
    upload.write(content)
    kept = bytes(upload.finish()["first_line"])
    assert kept.removeprefix(UTF8_BOM).strip() == first
    assert upload.first_line_cut is cut


@pytest.fixture(scope="module")
def large() -> bytes:
    """More than a page of chunks, none of them full of the same."""
    return random.Random(1).randbytes((PAGE_CHUNKS + 2) * CHUNK_BYTES + 333)


@given(data=st.data())
@settings(max_examples=20)
def test_ranges_are_what_slicing_gives(stores: Stores, large: bytes, data: st.DataObject) -> None:
    if stores.db["files.chunks"].count_documents({"files_id": "large"}) == 0:
        stores.blobs.put("large", large)
    size = len(large)
    near_edges = st.integers(0, size // CHUNK_BYTES).map(lambda n: max(0, n * CHUNK_BYTES - 2))
    offsets = st.integers(0, size - 1) | near_edges
    lengths = st.integers(0, 2000) | st.integers(0, 3 * CHUNK_BYTES)
    drawn = data.draw(st.lists(st.tuples(offsets, lengths), max_size=12))
    wanted = sorted((offset, min(length, size - offset)) for offset, length in drawn)
    assert list(stores.blobs.ranges("large", wanted)) == [large[o : o + n] for o, n in wanted]


def test_a_missing_chunk_is_an_error_and_never_a_shorter_file(stores: Stores) -> None:
    stores.blobs.put("b", b"x" * (3 * CHUNK_BYTES))
    stores.blobs.put("b", b"x" * (3 * CHUNK_BYTES))
    stores.db["files.chunks"].delete_one({"files_id": "b", "n": 1})
    with pytest.raises(LookupError):
        stores.blobs.get("b")
    with pytest.raises(LookupError):
        list(stores.blobs.ranges("b", [(CHUNK_BYTES + 5, 10)]))
    stores.blobs.delete("b")
    assert stores.db["files.chunks"].count_documents({}) == 0


def test_a_deleted_file_is_hidden_and_still_feeds_its_batches(stores: Stores) -> None:
    file_id = stores.file(b"{}\n", tenant="t")
    assert not stores.files.hide(file_id, "other")
    assert stores.files.hide(file_id, "t") and not stores.files.hide(file_id, "t")
    assert stores.files.get(file_id, "t") is None
    assert stores.files.for_batch(file_id, "t") is not None
    assert stores.files.for_batch(file_id, "other") is None


def test_pages_follow_creation_and_know_only_the_tenants_files(stores: Stores) -> None:
    ids = [stores.file(b"{}\n", tenant="t") for _ in range(4)]
    for second, file_id in enumerate(ids):
        stores.db["files"].update_one({"_id": file_id}, {"$set": {"created_at": second // 2}})
    other = stores.file(b"{}\n", tenant="other")
    in_order = sorted(ids[:2]) + sorted(ids[2:])

    def page(after: str | None, *, newest_first: bool) -> list[str]:
        rows = stores.files.page("t", after=after, limit=3, newest_first=newest_first, purpose="batch")
        return [row["_id"] for row in rows]

    assert page(None, newest_first=False) == in_order[:3]
    assert page(in_order[2], newest_first=False) == in_order[3:]
    assert page(None, newest_first=True) == in_order[::-1][:3]
    with pytest.raises(LookupError):
        page(other, newest_first=True)


def test_a_view_is_named_once(stores: Stores) -> None:
    for size in (5, 9):
        stores.files.put_view("file-v", "t", "batch_1", which="output", size_bytes=size)
    doc = stores.files.get("file-v", "t")
    assert doc is not None and doc["bytes"] == 5 and doc["filename"] == "batch_1_output.jsonl"

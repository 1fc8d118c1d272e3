"""Streams cut into events and lines, whatever pieces the network brings them in."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers import streams
from workers.providers.streams import EventReader, LineReader, ServerEvent

pytestmark = pytest.mark.fast
STREAM = (
    b": a comment\n"
    b"event: delta\ndata: one\n\n"
    b"data:two\ndata: lines\r\n\r\n"
    b"id: 7\nretry: 5\n\n"
    b"event: only a name\n\n"
    b"data\n\n"
    b"data: \xc3\xa4\n\n"
)
EVENTS = [
    ServerEvent("delta", b"one"),
    ServerEvent("", b"two\nlines"),
    ServerEvent("", b""),
    ServerEvent("", b"\xc3\xa4"),
]
CUTS = st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*cuts, len(data)]
    return [data[start:end] for start, end in zip([0, *cuts], ends, strict=True)]


@given(CUTS)
def test_events_are_the_same_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    reader = EventReader()
    read = [event for piece in pieces(STREAM, cuts) for event in reader.feed(piece)]
    assert read + reader.finish() == EVENTS


def test_events_are_the_same_byte_by_byte() -> None:
    reader = EventReader()
    assert [event for k in range(len(STREAM)) for event in reader.feed(STREAM[k : k + 1])] == EVENTS


@pytest.mark.parametrize("rest", [b"data: last", b"data: last\n", b"data: last\n\n"])
def test_an_event_whose_blank_line_never_came_is_read_at_the_end(rest: bytes) -> None:
    reader = EventReader()
    assert reader.feed(rest) + reader.finish() == [ServerEvent("", b"last")]
    assert reader.finish() == []


@given(st.lists(st.binary(max_size=20).filter(lambda line: not set(line) & set(b"\r\n"))), st.data())
def test_lines_are_the_same_wherever_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=5).map(sorted))
    reader = LineReader()
    assert [line for piece in pieces(stream, cuts) for line in reader.feed(piece)] == lines
    assert reader.finish() == []


def test_a_last_line_without_its_end_is_read_at_the_end() -> None:
    reader = LineReader()
    assert reader.feed(b"one\r\ntwo") == [b"one"]
    assert reader.finish() == [b"two"] and reader.finish() == []


def test_a_line_of_megabytes_in_small_pieces_takes_no_longer_than_its_length() -> None:
    reader = LineReader()
    began_s = time.process_time()
    for _ in range(15_000):
        reader.feed(b"x" * 1024)
    (line,) = reader.feed(b"\n")
    assert len(line) == 15_000 * 1024
    assert time.process_time() - began_s < 2.0, "copying what is there at every piece takes half a minute"


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_cut_into_something(chunks: list[bytes]) -> None:
    reader = EventReader()
    events = [event for chunk in chunks for event in reader.feed(chunk)] + reader.finish()
    assert sum(len(event.data) for event in events) <= sum(map(len, chunks))


@pytest.mark.parametrize("chunk", [b"x" * 60, b"data: " + b"x" * 30 + b"\n"])
def test_an_event_without_end_is_refused(chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_PENDING_BYTES", 100)
    reader = EventReader()

    def flood() -> None:
        for _ in range(5):
            reader.feed(chunk)

    with pytest.raises(ValueError, match="over 100 bytes"):
        flood()

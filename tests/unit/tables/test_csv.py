"""A CSV is read by any of its habits, and written again byte for byte with the answers behind."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tables import csv_format
from app.tables.csv_format import open_csv
from app.tables.rows import CellProblem, Column, Row, TableFault

ADDED = (Column("answer", "text"), Column("error", "text"))


def written(folder: Path, content: bytes, name: str = "in.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def values(path: Path, delimiter: str | None = None) -> list[dict[str, str]]:
    rows = list(open_csv(path, delimiter).rows(()))
    assert all(isinstance(row, Row) for row in rows), rows
    return [dict(row.values) for row in rows if isinstance(row, Row)]


def answered(path: Path, *answers: str | None) -> bytes:
    table, out = open_csv(path, None), io.BytesIO()
    writer = table.writer(out, ADDED)
    for row, answer in zip(table.rows(()), answers, strict=True):
        assert isinstance(row, Row)
        writer.write(row, [answer, None])
    writer.close()
    return out.getvalue()


def problems(path: Path) -> list[tuple[int | None, str | None, str]]:
    found = open_csv(path, None).rows(())
    return [(each.row, each.column, each.code) for each in found if isinstance(each, CellProblem)]


def test_quotes_line_breaks_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeffa,b\r\n1,"x, ""y""\r\nz"\r\n'.encode())
    assert values(path) == [{"a": "1", "b": 'x, "y"\r\nz'}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen_from_the_first_lines(tmp_path: Path, delimiter: str) -> None:
    lines = [
        delimiter.join(line) for line in (["a", "b", "c"], ["1", "x,y;z" if delimiter == "\t" else "x", "3"])
    ]
    assert list(values(written(tmp_path, "\n".join(lines).encode()))[0]) == ["a", "b", "c"]


def test_a_delimiter_that_is_named_is_taken(tmp_path: Path) -> None:
    assert values(written(tmp_path, b"a#b,c\n1#2,3\n"), "#") == [{"a": "1", "b,c": "2,3"}]


def test_what_was_there_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    # Given needless quotes, mixed line ends, a blank line, a short record and no last line end
    path = written(tmp_path, b'\xef\xbb\xbfid,"text"\r\n1,"needless"\n\n"2","a\nb"\r\n3')
    found = answered(path, "plain", 'say "hi", you', None)
    assert found == (
        b'\xef\xbb\xbfid,"text",answer,error\r\n1,"needless",plain,\n'
        b'"2","a\nb","say ""hi"", you",\r\n3,,,\r\n'
    )


@pytest.mark.parametrize(
    ("header", "code"), [(b"a,,c\n1,2,3\n", "empty_column_name"), (b"a,b,a\n1,2,3\n", "duplicate_column")]
)
def test_a_header_that_leaves_a_column_unsaid_is_refused_with_a_way_out(
    tmp_path: Path, header: bytes, code: str
) -> None:
    with pytest.raises(TableFault) as caught:
        open_csv(written(tmp_path, header), None)
    assert caught.value.problems[0].code == code
    assert caught.value.hint


def test_faults_of_single_rows_have_their_row_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n1,2\n1,2,3\n4,\xff\n5\n")
    assert problems(path) == [(2, None, "too_many_values"), (3, "b", "not_utf8")]


@pytest.mark.parametrize("content", [b'a,b\n1,"never closed\n2,3\n', b'a,b\n1,"x"y\n'])
def test_a_quote_out_of_place_ends_the_reading(tmp_path: Path, content: bytes) -> None:
    assert problems(written(tmp_path, content)) == [(1, None, "invalid_csv")]


def test_a_field_without_an_end_is_not_read_to_the_end_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_format, "MAX_FIELD_CHARACTERS", 1000)
    path = written(tmp_path, b'a\n"' + b"x\n" * 1000 + b'"\n')
    assert problems(path) == [(1, None, "invalid_csv")]


def test_utf16_is_named_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(TableFault, match="UTF-16"):
        open_csv(written(tmp_path, "a,b\n1,2\n".encode("utf-16")), None)


_CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(
    rows=st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=5),
    answers=st.lists(_CELLS, min_size=5, max_size=5),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_any_csv_reader_finds_the_old_values_and_the_new_ones(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    answers: list[str],
    delimiter: str,
) -> None:
    # Given a file that the csv module wrote
    source = io.StringIO(newline="")
    csv.writer(source, delimiter=delimiter).writerows([("a", "b"), *rows])
    path = written(tmp_path_factory.mktemp("csv"), source.getvalue().encode())
    table, out = open_csv(path, delimiter), io.BytesIO()
    # When answers are put behind its rows
    writer = table.writer(out, ADDED)
    for row, answer in zip(table.rows(()), answers, strict=False):
        assert isinstance(row, Row)
        writer.write(row, [answer, None])
    # Then the csv module reads both
    again = list(
        csv.reader(io.StringIO(out.getvalue().decode(), newline=""), delimiter=delimiter, strict=True)
    )
    assert again == [["a", "b", "answer", "error"]] + [
        [*row, answer, ""] for row, answer in zip(rows, answers, strict=False)
    ]

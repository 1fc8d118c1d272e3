"""Which lines `batchwright logs` shows, in which order, from logs of every form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.errors import CliError
from app.cli.log_lines import Reader, Wanted, by_time, moment
from app.cli.logs import Asked, wanted_by

pytestmark = pytest.mark.fast
AT = 1_795_219_200.0  # 2026-11-21T00:00:00Z
TEXT = b"2026-11-21T00:00:%02d.500000Z %s batchwright.api request status=200 batch_id=batch_%d"


def text(second: int, level: bytes = b"INFO", batch: int = 1) -> bytes:
    return TEXT % (second, level, batch)


def as_json(second: int, level: str = "info", **fields: object) -> bytes:
    head = {"timestamp": f"2026-11-21T00:00:{second:02}.500000Z", "level": level, "logger": "l", "event": "e"}
    return json.dumps(head | fields).encode()


def shown(lines: list[bytes], **wanted: object) -> list[str]:
    return [each.raw for each in Reader("api", Wanted(**wanted)).read(lines)]  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [text, as_json])
def test_a_level_takes_what_is_as_severe_in_both_forms(make: object) -> None:
    levels = ("debug", "info", "warning", "error")
    lines = [as_json(1, level) if make is as_json else text(1, level.upper().encode()) for level in levels]
    assert shown(lines, level="warning") == [line.decode() for line in lines[2:]]


def test_a_batch_is_found_in_both_forms() -> None:
    lines = [text(1, batch=1), text(2, batch=2), as_json(3, batch_id="batch_1"), as_json(4)]
    assert shown(lines, words=("batch_1",)) == [lines[0].decode(), lines[2].decode()]


def test_since_leaves_out_what_is_older_and_what_has_no_time() -> None:
    assert shown([b"banner", text(1), text(3), as_json(4)], since=AT + 2) == [
        text(3).decode(),
        as_json(4).decode(),
    ]


def test_a_traceback_is_shown_where_its_line_is() -> None:
    error, info = text(1, b"ERROR"), text(2)
    lines = [b"of a line before", error, b"Traceback", b"ValueError: x", info, b"of the other"]
    assert shown(lines, level="error") == [error.decode(), "Traceback", "ValueError: x"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 59)), max_size=20))
def test_lines_of_services_come_in_the_order_of_time_and_those_of_one_keep_theirs(
    said: list[tuple[int, int]],
) -> None:
    readers = [Reader(str(number), Wanted()) for number in range(3)]
    files = {number: sorted(second for service, second in said if service == number) for number in range(3)}
    lines = [
        line
        for number, reader in enumerate(readers)
        for line in reader.read(text(each) for each in files[number])
    ]
    merged = by_time(lines)
    assert [line.at for line in merged] == sorted(AT + second + 0.5 for _, second in said)
    for number in range(3):
        assert [line for line in merged if line.service == str(number)] == [
            line for line in lines if line.service == str(number)
        ]


def test_a_line_of_json_is_printed_as_a_line_for_people() -> None:
    (line,) = Reader("api", Wanted()).read([as_json(1, "error", ms=1.5, said="a b\x1b[31m")])
    assert line.text == '2026-11-21T00:00:01.500000Z ERROR l e ms=1.5 said="a b\\\\x1b[31m"'
    assert (line.at, line.level) == (AT + 1.5, "error")


def test_lines_of_redis_and_mongodb_have_their_time_and_level() -> None:
    mongo = b'{"t":{"$date":"2026-11-21T00:00:01.000+00:00"},"s":"W","c":"NETWORK","msg":"m"}'
    redis = b"12:M 21 Nov 2026 10:00:00.123 # memory"
    found = Reader("x", Wanted()).read([mongo, redis])
    assert [line.level for line in found] == ["warning", "warning"]
    assert found[0].at == AT + 1 and found[1].at is not None


def test_ages_and_times_are_understood() -> None:
    assert moment("10m", AT) == AT - 600
    assert moment("1.5h", AT) == AT - 5_400
    assert moment("2026-11-21T00:00:00+00:00", 0.0) == AT


@pytest.mark.parametrize(
    ("asked", "hint"), [(Asked(level="loud"), "warning"), (Asked(since="yesterday"), "10m")]
)
def test_what_cannot_be_understood_is_refused_with_what_can(asked: Asked, hint: str) -> None:
    with pytest.raises(CliError) as caught:
        wanted_by(asked, AT)
    assert hint in (caught.value.hint or "")

"""Numbers as people read them."""

from __future__ import annotations

import json

import pytest

from app.cli import words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1k"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (999_700, "1M"),
        (4_567_000, "4.57M"),
    ],
)
def test_a_short_number_has_three_digits_and_a_unit(number: float, text: str) -> None:
    assert words.short(number) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(None, "unknown"), (0, "$0"), (0.00001, "<$0.0001"), (0.0123, "$0.0123"), (1234.5, "$1,234.50")],
)
def test_an_unknown_cost_is_never_shown_as_nothing(usd: float | None, text: str) -> None:
    assert words.money(usd) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (187, "3:07 min"),
        (7384, "2:03:04 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_reads_in_its_own_unit(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 B"), (3_400, "3.4 kB"), (274_000_000, "274 MB"), (2_000_000_000, "2.0 GB")]
)
def test_a_size_reads_as_model_libraries_write_it(size: int, text: str) -> None:
    assert words.size(size) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0, "0"), (0.25, "0.25"), (3.14, "3.1"), (412.4, "412"), (12_345, "12,345")]
)
def test_a_rate_has_no_more_digits_than_it_deserves(rate: float, text: str) -> None:
    assert words.rate(rate) == text


def test_text_from_elsewhere_cannot_drive_the_terminal() -> None:
    assert words.one_line("evil\x1b[2J\nsecond line\r") == "evil [2J second line"


def test_json_on_a_terminal_is_the_same_json_and_drives_nothing() -> None:
    odd = {"name": "a\x1b[31m\x9b1m\u202e\u2028\udcff\x7f", "kept": "é 日本 🙂"}
    line = words.json_line(odd)
    assert json.loads(line) == odd
    assert line.isprintable() and "é 日本 🙂" in line
    line.encode()  # a file name that is no UTF-8 would not get through


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("http://127.0.0.1:8000 answers well", ["http://127.0.0.1:8000", "answers well"]),
        ("a round trip of (min 0.25 ms)", ["a round trip of (min", "0.25 ms)"]),
        ("it has cost you some $1,250.50 today", ["it has cost you some", "$1,250.50 today"]),
    ],
)
def test_a_number_stays_with_its_unit_and_an_address_does_not_pull_a_word_along(
    text: str, lines: list[str]
) -> None:
    assert words.folded(text, 22) == lines


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert words.shortened("classification-of-tickets-2026.jsonl", 20) == "classific…2026.jsonl"

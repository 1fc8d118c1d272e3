"""What a log line may say: no key in any form and any place, no control character, one line an event."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.identity import new_api_key
from workers.core.log_lines import as_json, as_text, cleaned_event, read_line

pytestmark = pytest.mark.fast
_HEAD = {"timestamp": "2026-11-21T00:00:00.000001Z", "level": "info", "logger": "batchwright", "event": "e"}
_BASE64 = string.ascii_letters + string.digits + "-_"


def secrets(prefix: str, least: int = 24, alphabet: str = _BASE64) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=60).map(lambda rest: prefix + rest)


# Every form of a key that we know: ours, of webhooks, of providers, and what stands in URLs and headers.
KEYS = st.one_of(
    st.builds(new_api_key),
    secrets("whsec_"),
    *(secrets(prefix) for prefix in ("sk-", "sk-proj-", "sk-ant-api03-", "AIza", "gsk_", "xai-", "hf_")),
    secrets("Bearer ").map(str),
    secrets("Bearer%20").map(str),
    secrets("bearer+").map(str),
    secrets("authorization%3DBearer%20sk-"),
    secrets("key%3Dsk-"),
    secrets("Basic ", alphabet=string.ascii_letters + string.digits),
    secrets("redis://:").map(lambda url: f"{url}@host:6379/0"),
    secrets("mongodb://user:").map(lambda url: f"{url}@host/db"),
)
# What may stand before and behind it; a letter before `sk-` makes another word of it.
_AROUND = st.text(st.sampled_from(" /:\"'\\=,;[](){}\n\t\x1b\x9b\u2028é"), max_size=4)


def hidden_part(key: str) -> str:
    """What must not come out: all but the letters by which it is known."""
    return key.split("://", 1)[1].split(":", 1)[1].split("@", maxsplit=1)[0] if "://" in key else key[-20:]


def placed(key: str, before: str, after: str) -> list[dict[str, Any]]:
    """The key in every place of an event."""
    text = f"{before}{key}{after}"
    values: list[Any] = [
        text,
        [text],
        {"deep": {"deeper": (text, {text})}},
        {text: 1},
        text.encode(),
        ValueError(text),
    ]
    return [
        *({"field": value} for value in values),
        {"event": text},
        {"exception": f"Traceback\n  x\n{text}"},
        {text: "as a name"},
    ]


@given(KEYS, _AROUND, _AROUND)
def test_a_key_of_any_form_in_any_place_comes_out_of_neither_form(key: str, before: str, after: str) -> None:
    for event in placed(key, before, after):
        cleaned = cleaned_event(_HEAD | event)
        for line in (as_json(cleaned), as_text(cleaned), as_text(cleaned, coloured=True)):
            assert hidden_part(key) not in line, event


@given(
    st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.floats() | st.binary() | st.none())
)
def test_any_event_is_one_line_without_control_characters_in_both_forms(fields: dict[str, Any]) -> None:
    fields = {name: value for name, value in fields.items() if name != "exception"}
    cleaned = cleaned_event(fields | _HEAD)
    for line in (as_json(cleaned), as_text(cleaned)):
        assert not [letter for letter in line if ord(letter) < 32 or 127 <= ord(letter) < 160]
        assert not set(line) & set("\u2028\u2029\u202e\u2066")
        line.encode()  # half a surrogate pair would make the stream raise


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_line_of_json_is_json_and_gives_back_what_was_said(event: str, value: str) -> None:
    found = json.loads(as_json(cleaned_event(_HEAD | {"event": event, "field": value})))
    if event.isascii() and value.isascii():
        assert (found["event"], found["field"]) == (event, value)
    assert list(found)[:4] == ["timestamp", "level", "logger", "event"]


def test_fields_with_spaces_or_quotes_are_quoted_and_plain_ones_are_not() -> None:
    event = _HEAD | {"plain": "a/b", "spaced": 'a "b"', "number": 1.5, "nothing": None, "many": ["a", 1]}
    assert as_text(event).endswith(' e plain=a/b spaced="a \\"b\\"" number=1.5 nothing=- many=["a", 1]')


def test_a_forged_line_stays_within_its_field() -> None:
    forged = "x\n2026-01-01T00:00:00Z ERROR batchwright forged"
    line = as_text(cleaned_event(_HEAD | {"path": forged}))
    assert "\n" not in line
    assert read_line(line).level == "info"


def test_what_is_long_or_deep_is_cut() -> None:
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    cleaned = cleaned_event(_HEAD | {"long": "x" * 100_000, "deep": deep, "many": list(range(100_000))})
    assert len(as_json(cleaned)) < 10_000


def test_a_value_that_cannot_be_shown_costs_its_field_alone() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert cleaned_event(_HEAD | {"odd": Odd(), "big": 2**70})["odd"] == "Odd"
    assert json.loads(as_json(cleaned_event(_HEAD | {"big": 2**70})))["big"] == str(2**70)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_line_of_either_form_is_read_back(level: str) -> None:
    event = _HEAD | {"level": level, "batch_id": "batch_1"}
    for line in (as_json(event), as_text(event)):
        found = read_line(line)
        assert (found.at, found.level) == (1_795_219_200.000001, level)
        assert found.text == as_text(event)


@pytest.mark.parametrize("name", [*_HEAD, "field", "\x1b[31m"])
def test_a_line_of_json_drives_no_terminal_from_any_field(name: str) -> None:
    line = read_line(json.dumps(_HEAD | {name: "\x1b[31m\nforged\u202e"}))
    assert not set(line.text) & set("\x1b\n\u202e")


@given(st.text())
def test_any_line_of_anybody_can_be_read_and_drives_no_terminal(raw: str) -> None:
    text = read_line(raw).text
    assert not [letter for letter in text if ord(letter) < 32 and letter not in "\n\t"]

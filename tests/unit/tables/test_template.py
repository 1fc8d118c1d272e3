"""A prompt's places are filled from a row; what cannot be meant is said before anything is sent."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tables.template import parse
from workers.core.errors import UserError


def filled(text: str, values: dict[str, Any]) -> str:
    return parse(text).filled(values)[0]


def test_places_are_filled_and_doubled_braces_are_braces() -> None:
    assert filled('{{"a": {x}}} {y}', {"x": "1", "y": "{x}"}) == '{"a": 1} {x}'


@given(st.text())
def test_a_text_with_doubled_braces_comes_out_as_it_was(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}"), {}) == text


def test_a_path_leads_into_a_value_unless_a_column_has_that_very_name() -> None:
    values = {"user": {"name": "Ann", "home": {"city": "Bern"}}, "a.b": "whole", "a": {"b": "path"}}
    assert filled("{user.name} {user.home.city} {a.b}", values) == "Ann Bern whole"


def test_what_is_missing_is_empty_and_what_is_unknown_is_told_apart() -> None:
    text, empty, unknown = parse("<{a}{b}{c}{d.e}{f.g}{h}>").filled(
        {"a": None, "b": "", "d": None, "f": {"x": 1}, "h": float("nan")}
    )
    assert text == "<>"
    assert empty == ["a", "b", "c", "d.e", "f.g", "h"]
    assert unknown == ["c", "f.g"]


def test_values_that_are_no_text_are_written_as_json_or_in_their_own_words() -> None:
    values = {"n": 1.5, "t": True, "l": ["a", {"b": None}], "d": date(2026, 1, 2), "m": Decimal("1.10")}
    values["s"] = b'say "hi"'
    assert filled("{n} {t} {l} {d} {m} {s}", values) == '1.5 true ["a",{"b":null}] 2026-01-02 1.10 say "hi"'


@pytest.mark.parametrize("text", ["a { b", "a } b", "{}", "{ }", "{a{b}}"])
def test_a_lone_brace_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert "{{" in str(caught.value.hint)

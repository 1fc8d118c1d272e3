"""What most adapters share: the words for waiting, and how a failing status is sorted."""

from __future__ import annotations

import copy
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import (
    ContextTooLong,
    KeyRefused,
    ModelUnknown,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    UnusableReply,
)
from workers.core.messages import HttpResponse
from workers.providers.base import (
    date_s,
    error_from_status,
    laid_over,
    lost,
    request_id,
    retry_after_s,
    unusable_reply,
)

pytestmark = pytest.mark.fast

NOON = "Sun, 06 Nov 1994 12:00:00 GMT"
NOON_S = 784123200.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "150"}, 0.15),
        ({"retry-after-ms": "150", "retry-after": "7"}, 0.15),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "in a while"}, None),
        ({"retry-after": NOON}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 11:00:00 GMT"}, None),
        ({"retry-after": "Sun, 99 Nov 1994 11:00:00 GMT"}, None),
    ],
)
def test_a_wait_is_read_as_the_provider_meant_it(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, now_s=NOON_S - 30) == wait_s


@given(st.text(), st.text(), st.none() | st.floats(0, 1e10))
def test_any_words_give_a_positive_wait_or_none(ms: str, seconds: str, now_s: float | None) -> None:
    wait_s = retry_after_s({"retry-after-ms": ms, "retry-after": seconds}, now_s=now_s)
    assert wait_s is None or 0 < wait_s < float("inf")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, KeyRefused),
        (402, QuotaExhausted),
        (403, KeyRefused),
        (404, RequestRefused),
        (408, Overloaded),
        (409, Overloaded),
        (413, ContextTooLong),
        (425, Overloaded),
        (429, RateLimited),
        (500, Overloaded),
        (529, Overloaded),
    ],
)
def test_a_failing_status_is_sorted_by_what_to_do_next(status: int, kind: type[ProviderError]) -> None:
    headers = {"x-request-id": "req_1", "retry-after": "3"}
    error = error_from_status("acme", "no", HttpResponse(status, headers, b"raw"), b"{}")
    assert type(error) is kind
    assert (error.status, error.body, error.request_id, error.retry_after_s) == (status, b"{}", "req_1", 3.0)
    assert str(error) == "acme: no"


def test_a_call_is_named_by_either_header() -> None:
    assert request_id({"x-request-id": "a", "request-id": "b"}) == "a"
    assert request_id({"request-id": "b"}) == "b"
    assert request_id({}) is None


def test_what_the_provider_says_itself_goes_before_its_status() -> None:
    response = HttpResponse(404, {"retry-after": NOON, "date": "Sun, 06 Nov 1994 11:59:30 GMT"}, b"raw")
    error = error_from_status("acme", "x" * 900, response, b"{}", code="no_model", kind=ModelUnknown)
    assert type(error) is ModelUnknown and error.provider_code == "no_model"
    assert len(error.message) == 500
    assert error.retry_after_s == 30.0, "a date is meant by the provider's own clock"


def test_a_provider_without_a_clock_has_none() -> None:
    assert date_s({"date": NOON}) == NOON_S
    assert date_s({}) is None and date_s({"date": "today"}) is None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("v"),
        KeyError("k"),
        TypeError("t"),
        IndexError(),
        AttributeError(),
        OverflowError(),
        struct.error("s"),
    ],
)
def test_whatever_reading_an_answer_raises_is_an_unusable_reply(error: Exception) -> None:
    with (
        pytest.raises(UnusableReply) as caught,
        unusable_reply("acme", HttpResponse(200, {"request-id": "r"}, b"")),
    ):
        raise error
    assert caught.value.request_id == "r" and type(error).__name__ in caught.value.message
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RateLimited("r", provider="acme"), AssertionError(), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_bytes_goes_through_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, unusable_reply("acme", HttpResponse(200, {}, b"")):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("body", "options", "merged"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {}),
        ({}, {"a": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": None}}}, {"a": {"b": {"d": 2}}}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({}, {"a": {"b": None, "c": {"d": None, "e": 1}}}, {"a": {"c": {"e": 1}}}),
        ({"a": 5}, {"a": {"b": None}}, {"a": {}}),
        ({}, {"a": [None, {"b": None}]}, {"a": [None, {"b": None}]}),
    ],
)
def test_options_are_merged_into_objects_and_replace_all_else(
    body: dict[str, Any], options: dict[str, Any], merged: dict[str, Any]
) -> None:
    before = copy.deepcopy((body, options))
    assert laid_over(body, options) == merged
    assert (body, options) == before


NESTED = st.recursive(
    st.none() | st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), NESTED, max_size=3)


@given(OBJECTS, OBJECTS)
def test_laying_the_same_options_over_twice_changes_nothing_more(body: Any, options: Any) -> None:
    before = copy.deepcopy((body, options))
    once = laid_over(body, options)
    assert laid_over(once, options) == once
    assert (body, options) == before


def test_every_name_that_is_lost_is_named() -> None:
    assert lost("acme", ["user", "seed"]) == (
        "user: acme has no such parameter; it was left out",
        "seed: acme has no such parameter; it was left out",
    )
    assert lost("acme", []) == ()

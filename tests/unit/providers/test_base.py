"""What most adapters share: the words for waiting, and how a failing status is sorted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import KeyRefused, Overloaded, ProviderError, RateLimited, RequestRefused
from workers.core.messages import HttpResponse
from workers.providers.base import error_from_status, request_id, retry_after_s

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
        (403, KeyRefused),
        (404, RequestRefused),
        (408, Overloaded),
        (409, Overloaded),
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

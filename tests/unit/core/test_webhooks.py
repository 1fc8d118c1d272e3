"""Who is told, what is signed, and when it is sent again."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from workers.core.webhooks import (
    DELIVERY_S,
    EVENT_TYPES,
    Answered,
    Next,
    after_attempt,
    body_of,
    delivery_id,
    is_pattern,
    retry_after_s,
    secret_from,
    secret_problem,
    shown_answer,
    signed_headers,
    signing,
    subject_of_test,
    wants,
)

EVENT = {
    "id": "evt_0123_completed",
    "object": "event",
    "created_at": 1_700_000_000,
    "type": "batch.completed",
    "data": {"id": "batch_0123"},
}
FAILED = Answered(5, error="cannot connect")
SECRETS = st.binary(min_size=24, max_size=64).map(secret_from)


@given(st.lists(SECRETS, min_size=1, max_size=3, unique=True), st.integers(-12, 12))
def test_a_receiver_with_any_of_the_secrets_takes_what_is_signed(secrets: list[str], offset_h: int) -> None:
    # The official SDK is the referee in tests/integration/api/test_webhooks.py.
    at = datetime.now(timezone(timedelta(hours=offset_h)))
    body = body_of(EVENT)
    headers = signed_headers("evt_0123_completed", at, body, secrets)
    for secret in secrets:
        assert Webhook(secret).verify(body, headers) == EVENT
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_from(b"x" * 24)).verify(body, headers)


def test_an_older_secret_signs_until_its_grace_is_over() -> None:
    now = datetime.now(UTC)
    secrets: list[dict[str, Any]] = [
        {"secret": "new", "until": None},
        {"secret": "old", "until": now + timedelta(seconds=1)},
    ]
    assert signing(secrets, now) == ["new", "old"]
    assert signing(secrets, now + timedelta(seconds=1)) == ["new"]


def test_a_delivery_is_tried_thirty_times_over_three_days() -> None:
    age_s, attempts, waits = 0.0, 1, list[float]()
    while (following := after_attempt(FAILED, attempts, age_s, 0.0)).state == "pending":
        waits.append(following.wait_s)
        age_s, attempts = age_s + following.wait_s, attempts + 1
    assert waits[:7] == [5, 30, 120, 600, 1800, 3600, 7200]
    assert waits == sorted(waits)
    assert attempts == 30 and 2.5 * 86_400 < age_s <= DELIVERY_S
    assert following == Next("dead")


ANSWERS = st.builds(
    Answered,
    took_ms=st.just(1),
    status=st.none() | st.integers(100, 599),
    error=st.just("x"),
    retry_after_s=st.none() | st.floats(0, 1e9),
)


@given(ANSWERS, st.integers(1, 40), st.floats(0, 4 * 86_400), st.floats(0, 1, exclude_max=True))
def test_an_attempt_ends_or_is_followed_within_bounds(
    answered: Answered, attempts: int, age_s: float, jitter: float
) -> None:
    following = after_attempt(answered, attempts, age_s, jitter)
    assert (following.state == "delivered") == (answered.status is not None and answered.status // 100 == 2)
    assert following.disable == (answered.status == 410)
    assert (answered.problem is None) == (following.state == "delivered") or answered.error == "x"
    if following.state == "pending":
        assert 5 <= following.wait_s <= 6 * 3600 and age_s + following.wait_s <= DELIVERY_S
        assert following.wait_s >= min(answered.retry_after_s or 0, 6 * 3600)


def test_a_redirect_is_a_failure_that_says_so() -> None:
    answered = Answered(1, status=302)
    assert after_attempt(answered, 1, 0, 0).state == "pending"
    assert answered.problem == "status 302: redirects are not followed"


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (["*"], set(EVENT_TYPES)),
        (["batch.*"], {kind for kind in EVENT_TYPES if kind.startswith("batch.")}),
        (
            ["tenant.*", "batch.failed"],
            {kind for kind in EVENT_TYPES if kind.startswith("tenant.")} | {"batch.failed"},
        ),
        ([], set()),
    ],
)
def test_an_endpoint_is_told_of_what_it_asked_for(patterns: list[str], told: set[str]) -> None:
    assert all(map(is_pattern, patterns))
    assert {kind for kind in EVENT_TYPES if wants(patterns, kind)} == told


@pytest.mark.parametrize("pattern", ["", "batch", "batch.", ".*", "b*", "batch.complete", "BATCH.*"])
def test_what_is_no_event_cannot_be_asked_for(pattern: str) -> None:
    assert not is_pattern(pattern)


@given(st.binary(max_size=80))
def test_a_secret_has_24_to_64_bytes(drawn: bytes) -> None:
    assert (secret_problem(secret_from(drawn)) is None) == (24 <= len(drawn) <= 64)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        base64.b64encode(b"x" * 32).decode(),
        "whsec_" + "é" * 40,
        "whsec_" + "a" * 33,
        "whsec_ab\n" * 9,
    ],
)
def test_a_secret_has_its_form(secret: str) -> None:
    assert secret_problem(secret)


def test_the_id_of_a_delivery_is_the_same_again_and_sorts_by_time() -> None:
    later = EVENT | {"created_at": 1_700_000_001}
    assert delivery_id(EVENT, "whk_1") == delivery_id(dict(EVENT), "whk_1") < delivery_id(later, "whk_1")
    assert delivery_id(EVENT, "whk_1") != delivery_id(EVENT, "whk_2")


@given(st.binary(max_size=2000))
def test_an_answer_is_shown_as_one_short_line_of_ascii(answer: bytes) -> None:
    shown = shown_answer(answer)
    assert shown.isascii() and (shown.isprintable() or not shown) and len(shown) <= 10 * 1024


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-1", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 400, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds


def test_the_pages_receiver_without_a_library_takes_what_is_signed_and_nothing_else() -> None:
    page = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (block,) = (found for found in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "hmac" in found)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/webhooks.md", "exec"), names)
    body, now, secret = body_of(EVENT), datetime.now(UTC), secret_from(b"s" * 32)
    headers = signed_headers("evt_0123_completed", now, body, [secret_from(b"t" * 32), secret])
    assert names["is_ours"](body, headers, secret)
    assert not names["is_ours"](body + b" ", headers, secret)
    assert not names["is_ours"](body, headers, secret_from(b"u" * 32))
    old = signed_headers("evt_0123_completed", now - timedelta(seconds=400), body, [secret])
    assert not names["is_ours"](body, old, secret)


@pytest.mark.parametrize(
    ("kind", "about"),
    [("webhook.test", "whk_1"), ("batch.failed", "batch_test_1"), ("tenant.budget_reached", "acme")],
)
def test_a_sample_of_an_event_tells_of_what_it_would_and_of_no_batch_that_is(kind: str, about: str) -> None:
    assert subject_of_test(kind, "whk_1", "acme") == about

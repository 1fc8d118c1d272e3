"""Who is told of an event, what is sent and signed, and when it is sent again. Pure: time and chance are arguments.

store/deliveries.py keeps what is decided here, workers/notify.py acts on it. Signing is Standard Webhooks:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import blake3
import orjson
from standardwebhooks import Webhook

PREFIX = "whsec_"
SECRET_BYTES = (24, 64)
EVENT_TYPES = (
    *("batch.completed", "batch.failed", "batch.expired", "batch.cancelled"),
    *("batch.budget_warning", "batch.budget_reached"),
    *("tenant.budget_warning", "tenant.budget_reached"),
    *("alert.firing", "alert.resolved"),
    "schedule.missed",
)
TEST_EVENT = "webhook.test"
DEFAULT_EVENTS = ("batch.*",)
PATTERNS = ("*", "batch.*", "tenant.*", "alert.*", "schedule.*", *EVENT_TYPES)

# How long an event is worth telling, and the waits between attempts on the way there: 30 attempts at most.
DELIVERY_S = 3 * 86_400.0
_WAITS_S = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0)
_LAST_WAIT_S = 10_800.0
MOST_ATTEMPTS = 30
_JITTER = 0.2
_MAX_RETRY_AFTER_S = 6 * 3_600.0
KEPT_ANSWER_BYTES = 1_024
GONE = 410
_BARE = re.compile(r"[^\x20-\x7e]|\\")


@dataclass(frozen=True, slots=True)
class Answered:
    """What an attempt came to.

    Attributes:
        status: of the HTTP answer; None where there was none, and `error` says why.
        answer: its first bytes.
        retry_after_s: how long it asked to be left alone.
    """

    took_ms: int
    status: int | None = None
    error: str | None = None
    answer: bytes = b""
    retry_after_s: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def problem(self) -> str | None:
        """Why it was not delivered, in words; None if it was."""
        if self.status is None or self.delivered:
            return self.error
        if 300 <= self.status < 400:
            return f"status {self.status}: redirects are not followed"
        return f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Next:
    """What follows an attempt: the delivery's state, seconds until the next one, whether its endpoint is over."""

    state: Literal["pending", "delivered", "dead"]
    wait_s: float = 0.0
    disable: bool = False


def after_attempt(answered: Answered, attempts: int, age_s: float, jitter: float) -> Next:
    """Choose between the end and one more attempt.

    Args:
        attempts: made since the delivery began, this one included; from 1.
        age_s: how long ago it began.
        jitter: uniform draw in [0, 1); a receiver that comes back is not met by everything at once.
    """
    if answered.delivered:
        return Next("delivered")
    if answered.status == GONE:
        return Next("dead", disable=True)
    wait_s = _WAITS_S[attempts - 1] if attempts <= len(_WAITS_S) else _LAST_WAIT_S
    wait_s *= 1.0 + _JITTER * jitter
    wait_s = max(wait_s, min(answered.retry_after_s or 0.0, _MAX_RETRY_AFTER_S))
    if attempts >= MOST_ATTEMPTS or age_s + wait_s > DELIVERY_S:
        return Next("dead")
    return Next("pending", wait_s)


def wants(patterns: Sequence[str], kind: str) -> bool:
    """Whether an endpoint that asked for these events is told of this one."""
    return any(
        pattern in ("*", kind) or (pattern.endswith(".*") and kind.startswith(pattern[:-1]))
        for pattern in patterns
    )


def is_pattern(text: str) -> bool:
    """Whether an endpoint may ask for that: a type, all of a kind (`batch.*`), or all (`*`)."""
    return text in PATTERNS


def subject_of_test(kind: str, endpoint: str, tenant: str) -> str:
    """What an event of this type tells of when it only tests an endpoint: of a batch that never was, for one."""
    if kind == TEST_EVENT:
        return endpoint
    if kind.startswith("tenant."):
        return tenant
    others = {"alert": "alert_test_", "schedule": "sched_test_"}
    return endpoint.replace("whk_", others.get(kind.partition(".")[0], "batch_test_"), 1)


def body_of(event: Mapping[str, Any]) -> bytes:
    """The event as it is sent. Made once and kept: a signature is over bytes."""
    return orjson.dumps(dict(event))


def delivery_id(event: Mapping[str, Any], receiver: str) -> str:
    """The id of one event's delivery to one receiver: derived, so telling twice writes one; sorts by time."""
    digest = blake3.blake3(f"{event['id']}\n{receiver}".encode()).hexdigest(length=10)
    return f"dlv_{int(event['created_at']):010x}{digest}"


def secret_problem(secret: str) -> str | None:
    """What is wrong with a signing secret, in words; None if it can be used."""
    low, high = SECRET_BYTES
    wanted = f"it must be {PREFIX} and the base64 of {low} to {high} bytes"
    if not secret.startswith(PREFIX):
        return wanted
    try:
        size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        return wanted
    return None if low <= size <= high else wanted


def secret_from(drawn: bytes) -> str:
    """A secret in the form that receivers take."""
    return PREFIX + base64.b64encode(drawn).decode()


def signing(secrets: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """Of an endpoint's secrets ({secret, until}) those that sign now: the first, and older ones in their grace."""
    return [each["secret"] for each in secrets if each.get("until") is None or each["until"] > now]


def signed_headers(event_id: str, at: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of Standard Webhooks, with a signature for each secret.

    Args:
        at: of this attempt. The library takes the clock's digits for UTC, so it is made UTC before.
    """
    moment = at.astimezone(UTC)
    data = body.decode()
    signatures = [Webhook(secret).sign(event_id, moment, data) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is not read: our own waits do as well."""
    text = (value or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def shown_answer(answer: bytes) -> str:
    """The beginning of an answer for a listing: one line of visible ASCII, everything else escaped."""
    text = answer[:KEPT_ANSWER_BYTES].decode("utf-8", "replace")
    return _BARE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

"""What a broker brings is taken only in the one form that we send, whatever else somebody has put there."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.forged import forgeries
from workers.celery_config import PLAN_QUEUE, PLAN_TASK, TICK_TASK
from workers.core.identity import new_batch_id, shard_id
from workers.core.inbound import (
    BATCH_ID,
    MAX_MESSAGE_BYTES,
    SHARD_ID,
    TICK,
    Refusal,
    of_body,
    of_envelope,
    of_headers,
)
from workers.queue import Queue

pytestmark = pytest.mark.fast
_BATCH = new_batch_id(1_700_000_000_000)
_SHARD = shard_id(_BATCH, 7)


@pytest.fixture(scope="module")
def sound() -> bytes:
    """A message as our own publisher makes it, with what kombu's Redis transport writes around it."""
    message = Queue("memory://")._message(PLAN_TASK, _BATCH)
    envelope = {
        "body": base64.b64encode(json.dumps(message.body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": message.headers,
        "properties": {
            **message.properties,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": PLAN_QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "3c1d",
        },
    }
    return json.dumps(envelope).encode()


def refusal(raw: bytes) -> Refusal | None:
    """All three looks, one after the other, as workers/inbound.py takes them."""
    if reason := of_envelope(raw):
        return reason
    message = json.loads(raw)
    headers = message["headers"]
    if reason := of_headers(headers, message["content-type"], message["content-encoding"]):
        return reason
    takes = {PLAN_TASK: BATCH_ID, TICK_TASK: TICK}.get(headers["task"])
    return of_body(base64.b64decode(message["body"]), takes) if takes else Refusal.TASK_UNKNOWN


def test_our_own_message_is_taken(sound: bytes) -> None:
    assert refusal(sound) is None


def test_a_tick_is_taken_and_nothing_in_its_place(sound: bytes) -> None:
    message = json.loads(sound)
    message["headers"]["task"] = TICK_TASK
    assert refusal(json.dumps(message).encode()) is Refusal.ARGUMENTS, "a batch's id is none"
    message["body"] = base64.b64encode(b'[["tick"], {}, {}]').decode()
    assert refusal(json.dumps(message).encode()) is None


def test_every_forgery_is_refused_for_its_reason(sound: bytes) -> None:
    seen = {name: (refusal(raw), reason) for name, reason, raw in forgeries(sound)}
    assert len(seen) > 50
    # A packed body is refused for its header here; kombu, which looks at it first, finds that it cannot unpack it.
    packed = {name: seen.pop(name) for name in ("a packed body", "an unknown packing")}
    assert {got for got, _ in packed.values()} == {Refusal.UNSUPPORTED}
    assert {name: got for name, (got, _) in seen.items()} == {name: why for name, (_, why) in seen.items()}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(_JSON, _JSON, _JSON)
def test_no_argument_but_one_id_gets_through(args: Any, kwargs: Any, embed: Any) -> None:
    assert of_body(json.dumps([args, kwargs, embed]).encode(), SHARD_ID) is not None
    assert of_body(json.dumps(args).encode(), SHARD_ID) is not None


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_answered_and_never_raise(raw: bytes) -> None:
    assert of_envelope(raw) is not None
    assert of_body(raw, BATCH_ID) is not None


@given(st.sampled_from(("id", "task", "eta", "timelimit", "root_id", "retries", "stamps", "argsrepr")), _JSON)
def test_headers_of_any_form_are_answered_and_never_raise(sound: bytes, name: str, value: Any) -> None:
    headers = json.loads(sound)["headers"] | {name: value}
    reason = of_headers(headers, "application/json", "utf-8")
    assert reason in (None, Refusal.MALFORMED, Refusal.UNSUPPORTED)
    # What is taken is of a kind that Celery can put into its tables.
    assert reason is not None or (isinstance(headers["id"], str) and isinstance(headers["task"], str))


@pytest.mark.parametrize("child", [".sim.000000012", ".7", ".7.12.open-router.3"])
def test_parts_of_a_shard_are_shards(child: str) -> None:
    assert SHARD_ID.fullmatch(_SHARD + child)
    assert not BATCH_ID.fullmatch(_SHARD) and not SHARD_ID.fullmatch(_BATCH)


def test_a_message_over_the_bound_is_not_even_parsed() -> None:
    assert of_envelope(b"[" * (MAX_MESSAGE_BYTES + 1)) is Refusal.TOO_LARGE
    assert of_body(b" " * (MAX_MESSAGE_BYTES + 1), BATCH_ID) is Refusal.TOO_LARGE

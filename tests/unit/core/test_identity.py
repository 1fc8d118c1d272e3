"""Ids sort as they should, and a fingerprint is equal exactly when two requests ask the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workers.core import identity

SECRET = bytes(32)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(st.text(min_size=1), VALUES, max_size=4)


def fingerprint(body: dict[str, Any], **other: Any) -> str:
    parts: dict[str, Any] = {
        "secret": SECRET,
        "generation": 1,
        "answers_as": "http://x/v1",
        "endpoint": "/v1/chat/completions",
        "model": "m",
    }
    return identity.request_fingerprint(**(parts | other), body=body)


@given(BODIES)
def test_the_order_of_keys_and_white_space_say_nothing(body: dict[str, Any]) -> None:
    shuffled = json.loads(json.dumps(dict(reversed(body.items())), indent=3))
    assert fingerprint(shuffled) == fingerprint(body)


@given(BODIES, BODIES)
def test_two_bodies_are_the_same_request_only_if_they_are_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    one.pop("model", None)
    other.pop("model", None)
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_every_part_of_a_request_counts() -> None:
    base = fingerprint({"messages": []})
    others = [
        fingerprint({"messages": [], "seed": 1}),
        fingerprint({"messages": []}, secret=b"\1" * 32),
        fingerprint({"messages": []}, generation=2),
        fingerprint({"messages": []}, answers_as="http://y/v1"),
        fingerprint({"messages": []}, endpoint="/v1/embeddings"),
        fingerprint({"messages": []}, model="n"),
    ]
    assert len({base, *others}) == 7


def test_the_routed_model_counts_and_not_the_name_in_the_body() -> None:
    assert fingerprint({"model": "alias"}) == fingerprint({"model": "other"})


@given(st.lists(st.integers(0, 2**47), min_size=2, max_size=2, unique=True))
def test_ids_sort_by_the_time_they_were_made(times_ms: list[int]) -> None:
    early, late = sorted(times_ms)
    assert identity.new_batch_id(early) < identity.new_batch_id(late)
    assert identity.new_file_id(early) < identity.new_file_id(late)


@given(st.integers(1, 10**9 - 1), st.integers(1, 10**9 - 1))
def test_result_ids_sort_in_input_order_and_know_their_line(one: int, other: int) -> None:
    ids = identity.result_id("batch_1", one), identity.result_id("batch_1", other)
    assert (ids[0] < ids[1]) == (one < other)
    assert identity.line_of(ids[0]) == one
    assert "batch_1:" < ids[0] < "batch_1;"


def test_derived_ids_never_change_and_never_meet() -> None:
    assert identity.batch_request_id("b", 1) == identity.batch_request_id("b", 1)
    assert identity.batch_request_id("b", 1) != identity.batch_request_id("b", 2)
    assert identity.batch_request_id("b", 1).startswith("batch_req_")
    assert identity.shard_id("b", 3) == "b.000003"
    assert identity.view_file_id("batch_0a", "output") == "file-0a-output"


def test_an_api_key_is_long_random_and_shows_nothing_in_its_hash() -> None:
    key, other = identity.new_api_key(), identity.new_api_key()
    assert key != other and key.startswith("bw_") and len(key) == 52
    stored = identity.api_key_hash(key, SECRET)
    assert key[3:] not in stored and stored != identity.api_key_hash(key, b"\1" * 32)


@given(st.binary())
def test_a_fingerprint_of_64_bits_is_never_zero(data: bytes) -> None:
    assert 0 < identity.hash64(data) < 2**64


def test_a_run_is_known_by_its_file_and_its_options() -> None:
    keys = {
        identity.content_key("digest", {"model": None}),
        identity.content_key("digest", {"model": "m"}),
        identity.content_key("other", {"model": None}),
    }
    assert len(keys) == 3

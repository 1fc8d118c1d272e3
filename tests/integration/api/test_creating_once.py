"""A create that is sent more than once makes one batch: idempotency keys, and the SDK's blind repeats."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import Api
from tests.support.late import Late

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("call", ["header", "body"])
def test_an_idempotency_key_gives_the_batch_that_exists(api: Api, call: str) -> None:
    wanted: dict[str, Any] = {
        "input_file_id": api.input_file(),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    key = f"once-{wanted['input_file_id']}"
    sent: dict[str, Any] = (
        {"extra_headers": {"Idempotency-Key": key}}
        if call == "header"
        else {"extra_body": {"idempotency_key": key}}
    )

    first = api.sdk.batches.create(**wanted, **sent)
    again = api.sdk.batches.create(**wanted, **sent)
    other_tenant = api.sdk_of(api.other_key).batches.create(**wanted, **sent)

    assert again.id == first.id
    assert other_tenant.id != first.id
    with pytest.raises(openai.ConflictError) as clash:
        api.sdk.batches.create(**{**wanted, "completion_window": "48h"}, **sent)
    assert clash.value.response.headers["x-should-retry"] == "false"
    assert clash.value.code == "idempotency_key_reused"


def test_equal_creates_at_once_under_one_key_make_one_batch(api: Api) -> None:
    file_id = api.input_file()
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(
                lambda _: api.batch(
                    input_file_id=file_id, extra_headers={"Idempotency-Key": f"at-once-{file_id}"}
                ),
                range(8),
            )
        )
    assert len(set(made)) == 1


def test_a_create_that_the_sdk_sends_again_makes_no_second_batch(api: Api) -> None:
    body = {
        "input_file_id": api.input_file(),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    first = api.call("POST", "/v1/batches", json=body, headers={"x-stainless-retry-count": "0"}).json()["id"]
    replayed = api.call("POST", "/v1/batches", json=body, headers={"x-stainless-retry-count": "1"}).json()[
        "id"
    ]
    meant = api.call("POST", "/v1/batches", json=body, headers={"x-stainless-retry-count": "0"}).json()["id"]
    other = {**body, "metadata": {"a": "b"}}
    changed = api.call("POST", "/v1/batches", json=other, headers={"x-stainless-retry-count": "1"}).json()[
        "id"
    ]
    assert replayed == first
    assert len({first, meant, changed}) == 3

"""A batch's own receiver: its secret is made with the batch, shown to its maker, and goes on to its retries."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.bodies import CreateBatch
from app.api.counts import extension
from app.api.creation import form_of, shown_to_its_maker
from app.api.door import check
from app.api.errors import ApiError
from app.api.retrying import RetryBatch, child_form
from workers.core.webhooks import secret_from, secret_problem
from workers.creation import Defaults, new_batch

pytestmark = pytest.mark.fast
OWN = secret_from(b"o" * 32)
URL = "https://hooks.example.com/x"


def batch(webhook: dict[str, Any] | None) -> dict[str, Any]:
    asked = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "1h"}
    wanted = check(CreateBatch, asked | {"batchwright": {"webhook": webhook}})
    defaults = Defaults(cache=True, invalid_lines="fail")
    return new_batch(
        form_of(wanted), tenant="t", now_s=1.7e9, defaults=defaults, asked_hash="h", idempotency_key=None
    )


def test_a_secret_is_kept_or_made() -> None:
    assert batch({"url": URL, "secret": OWN})["webhook"] == {"url": URL, "secret": OWN}
    first, second = (batch({"url": URL})["webhook"]["secret"] for _ in range(2))
    assert first != second and secret_problem(first) is None
    assert "webhook" not in batch(None)


def test_its_maker_alone_sees_the_secret() -> None:
    doc = batch({"url": URL, "secret": OWN})
    shown = {"batchwright": extension(doc, {}, simulated=False)}
    assert shown["batchwright"]["webhook"] == {"url": URL}
    assert shown_to_its_maker(shown, doc)["batchwright"]["webhook"] == {"url": URL, "secret": OWN}
    assert extension(batch(None), {}, simulated=False)["webhook"] is None


def test_a_retry_tells_whom_its_parent_told_unless_it_names_another() -> None:
    parent = batch({"url": URL, "secret": OWN})
    same = child_form(parent, check(RetryBatch, {})).batchwright.webhook
    assert same is not None and (same.url, same.secret) == (URL, OWN)
    named = {"batchwright": {"webhook": {"url": "https://other.example.com"}}}
    other = child_form(parent, check(RetryBatch, named)).batchwright.webhook
    assert other is not None and (other.url, other.secret) == ("https://other.example.com", None)


@pytest.mark.parametrize(
    ("webhook", "param"),
    [({}, "url"), ({"url": URL, "secret": "whsec_x"}, "secret"), ({"url": URL, "secrets": OWN}, "secrets")],
)
def test_what_is_wrong_with_it_is_named_and_never_repeated(webhook: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        batch(webhook)
    assert caught.value.param == f"batchwright.webhook.{param}"
    assert "whsec_x" not in caught.value.message and OWN not in caught.value.message

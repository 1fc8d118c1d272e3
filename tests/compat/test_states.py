"""The SDK's own models, closed: what the API shows in each state has every key, no other, and ours under one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Batch, BatchError, FileObject
from pydantic import BaseModel

from tests.compat.conftest import CHAT, ENDED, PATIENCE_S, Stack, lines
from tests.support.eventually import eventually
from workers.core.states import BatchStatus
from workers.core.wire import STATUS_TIMES, batch_object, file_object

pytestmark = pytest.mark.compat
OURS = "batchwright"
Doc = dict[str, Any]


def held(model: type[BaseModel], shown: Doc, *, ours: frozenset[str] = frozenset()) -> Any:
    """The object, if it has all keys of the model, no others but `ours`, and each value is of its very type."""
    assert set(shown) == set(model.model_fields) | ours, model
    checked = model.model_validate(shown, strict=True)
    _no_more_than_named(checked, ours)
    return checked


def _no_more_than_named(checked: BaseModel, ours: frozenset[str] = frozenset()) -> None:
    assert set(checked.model_extra or ()) <= ours, (type(checked), checked.model_extra)
    for value in checked.__dict__.values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                assert inner.model_fields_set == set(type(inner).model_fields), type(inner)
                _no_more_than_named(inner)


def a_batch(shown: Doc) -> Batch:
    """Held as a batch, with what every batch keeps."""
    batch: Batch = held(Batch, shown, ours=frozenset({OURS}))
    assert batch.request_counts is not None and batch.usage is not None
    assert isinstance(shown[OURS], dict)
    if batch.status in ("validating", "failed"):
        assert (batch.request_counts.total, batch.request_counts.completed) == (0, 0)
    assert batch.request_counts.completed + batch.request_counts.failed <= max(batch.request_counts.total, 0)
    for file_id in (batch.output_file_id, batch.error_file_id):
        assert file_id is None or file_id.startswith("file-")
    final = {"failed": "failed_at", "completed": "completed_at", "expired": "expired_at"}
    for status, name in {**final, "cancelled": "cancelled_at"}.items():
        assert (shown[name] is not None) == (batch.status == status), (batch.status, name)
    return batch


class Watched:
    """A batch under way: every reply of the API about it is held against the models, and no state goes back."""

    ORDER = (
        "validating",
        "in_progress",
        "finalizing",
        "cancelling",
        "failed",
        "completed",
        "expired",
        "cancelled",
    )

    def __init__(self, stack: Stack, batch_id: str) -> None:
        self._stack, self._id, self.seen = stack, batch_id, ["validating"]
        self._times: Doc = {}

    def until_it_ends(self) -> Batch:
        """Look as fast as the API answers, nearly."""
        found = eventually(self._look, PATIENCE_S, what=lambda: self.seen)
        assert found is not None
        return found

    def _look(self) -> Batch | None:
        shown = self._stack.api.call("GET", f"/v1/batches/{self._id}").json()
        batch = a_batch(shown)
        assert self.ORDER.index(batch.status) >= self.ORDER.index(self.seen[-1]), (self.seen, batch.status)
        if batch.status != self.seen[-1]:
            self.seen.append(batch.status)
        for name in STATUS_TIMES:
            assert self._times.get(name) in (None, shown[name]), f"{name} was set twice"
            self._times[name] = shown[name]
        return batch if batch.status in ENDED else None


def create(stack: Stack, content: bytes | None, **options: Any) -> Doc:
    file_id = "file-nowhere" if content is None else stack.upload(content)
    wanted = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **options}
    shown: Doc = stack.api.call("POST", "/v1/batches", json=wanted).json()
    return shown


def test_a_batch_that_completes_is_true_to_the_models_all_the_way(stack: Stack) -> None:
    made = create(stack, lines(20, fault="latency-ms=50"), metadata={"a": "b"})
    assert a_batch(made).status == "validating"
    watched = Watched(stack, made["id"])
    assert watched.until_it_ends().status == "completed"
    assert "in_progress" in watched.seen


def test_a_batch_that_fails_is_true_to_the_models_too(stack: Stack) -> None:
    for made in (create(stack, lines(1) + b"{\n"), create(stack, None)):
        batch = Watched(stack, made["id"]).until_it_ends()
        assert batch.status == "failed" and batch.errors and batch.errors.data
        assert batch.errors.object == "list"
        for error in batch.errors.data:
            assert held(BatchError, error.model_dump()).code and error.message


def test_a_batch_that_is_cancelled_is_true_to_the_models_too(stack: Stack) -> None:
    running = stack.half_done()
    shown = stack.api.call("POST", f"/v1/batches/{running.id}/cancel").json()
    assert a_batch(shown).status == "cancelling"
    assert Watched(stack, running.id).until_it_ends().status == "cancelled"


def test_every_batch_and_file_of_the_lists_is_true_to_the_models(stack: Stack) -> None:
    for path, hold in (("/v1/batches?limit=100", a_batch), ("/v1/files", lambda row: held(FileObject, row))):
        page = stack.api.call("GET", path).json()
        assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
        assert (page["object"], page["first_id"]) == ("list", page["data"][0]["id"])
        assert page["last_id"] == page["data"][-1]["id"]
        assert page["has_more"] is (path.startswith("/v1/batches") and len(page["data"]) == 100)
        for row in page["data"]:
            hold(row)


def test_a_deleted_file_says_so_and_nothing_else(stack: Stack) -> None:
    file_id = stack.upload(lines(1))
    with httpx.Client(headers={"X-API-Key": stack.key}) as client:  # the other header that carries a key
        said = client.delete(f"{stack.base_url}/files/{file_id}").json()
    assert said == {"id": file_id, "object": "file", "deleted": True}


SECONDS = st.none() | st.integers(1, 2**33) | st.floats(1, 2**33, allow_nan=False)
IDS = st.none() | st.just("file-1")
NUMBERS = st.integers(0, 2**40)
ERROR = st.fixed_dictionaries(
    {"code": st.text(), "message": st.text(), "param": st.none() | st.text(), "line": st.none() | NUMBERS}
)
BATCHES = st.fixed_dictionaries(
    {
        "_id": st.just("batch_1"),
        "endpoint": st.text(),
        "input_file_id": st.text(),
        "completion_window": st.just("24h"),
        "status": st.sampled_from(list(BatchStatus)),
        "created_at": st.floats(1, 2**33),
    },
    optional={
        "total": NUMBERS,
        "errors": st.none() | st.lists(ERROR, max_size=3),
        "output_file_id": IDS,
        "error_file_id": IDS,
        "metadata": st.none() | st.dictionaries(st.text(), st.text(), max_size=3),
        "model": st.none() | st.text(),
        **dict.fromkeys(STATUS_TIMES, SECONDS),
    },
)
COUNTED = ("completed", "failed", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
COUNTS = st.fixed_dictionaries({}, optional=dict.fromkeys(COUNTED, NUMBERS))


@given(BATCHES, COUNTS)
def test_whatever_is_stored_a_batch_shown_is_true_to_the_models(stored: Doc, counts: Doc) -> None:
    held(Batch, batch_object(stored, counts, {"ours": 1}), ours=frozenset({OURS}))


@given(
    st.fixed_dictionaries(
        {
            "_id": st.text(),
            "bytes": NUMBERS,
            "created_at": st.floats(1, 2**33),
            "filename": st.text(),
            "purpose": st.sampled_from(("batch", "batch_output", "user_data")),
        },
        optional={"expires_at": SECONDS},
    )
)
def test_whatever_is_stored_a_file_shown_is_true_to_the_models(stored: Doc) -> None:
    held(FileObject, file_object(stored))
